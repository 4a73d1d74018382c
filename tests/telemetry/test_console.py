"""Lines for a terminal."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

from shazimd.telemetry.console import CLEAR_LINE, ConsoleHandler, ConsoleRenderer
from shazimd.text import alert_line

ALERT = {
    "event": "near_duplicate",
    "level": "warning",
    "path": "/home/ada/Pictures/2024/holidays in the mountains/DSC00123 copy.jpg",
    "match": "/home/ada/Pictures/2024/originals/from the camera/DSC00123.jpg",
    "score": 0.978,
    "verdict": "copy",
    "matches": 12,
}


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_an_alert_is_one_line_that_fits(columns: int) -> None:
    """The ends of both paths, which have the names, stay."""
    line = alert_line(ALERT, columns, len("00:00:00 "))
    assert len(f"00:00:00 {line}") <= columns
    assert "\n" not in line
    assert "copy 98%: " in line
    assert "copy.jpg like " in line
    assert line.endswith("3.jpg and 11 more")


def test_a_narrow_terminal_has_a_line_for_each_path() -> None:
    """At 40 columns two paths on one line would say little."""
    lines = alert_line(ALERT, 40).splitlines()
    assert [len(line) <= 40 for line in lines] == [True] * 3
    assert [line.split()[0] for line in lines] == ["copy", "…/DSC00123", "like"]


def rendered(**event: Any) -> str:
    """The text of an event after its time."""
    return ConsoleRenderer(io.StringIO())(None, "info", {"level": "info", **event}).partition(" ")[2]


def test_usual_events_are_in_words() -> None:
    """Others, and errors, are as structlog writes them, with all facts."""
    assert rendered(event="root_watched", root="/p", mode="poll") == "watching /p, by comparing it at intervals"
    assert rendered(event="baseline_complete", path="/p", images=1200) == "1,200 images known in /p"
    groups = "compared with each other; 1 group of duplicates: shazimctl duplicates"
    assert rendered(event="pictures_compared", contents=9, duplicate_groups=1) == groups
    assert rendered(event="pictures_compared", contents=9) == "compared with each other"
    assert "reason=full" in rendered(event="store_full", level="error", reason="full")


def test_the_hint_comes_with_the_first_alert_only() -> None:
    """It says how to compare and how to act."""
    renderer = ConsoleRenderer(io.StringIO())
    first, second = (renderer(None, "warning", dict(ALERT)) for _ in range(2))
    assert ("shazimctl compare" in first, "shazimctl compare" in second) == (True, False)


def test_lines_are_written_above_the_live_line() -> None:
    """It is cleared, and drawn again below; an empty one leaves nothing."""
    stream = io.StringIO()
    handler = ConsoleHandler(stream)
    handler.show("scanning: 1")
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "a line", None, None))
    handler.show("")
    handler.show("")
    assert stream.getvalue() == f"{CLEAR_LINE}scanning: 1{CLEAR_LINE}a line\nscanning: 1{CLEAR_LINE}"

"""Lines for a terminal."""

from __future__ import annotations

import ast
import io
import logging
import string
from pathlib import Path
from typing import Any

import pytest

from shazimd.telemetry.console import CLEAR_LINE, PHRASES, ConsoleHandler, ConsoleRenderer
from shazimd.text import alert_line

PACKAGE = Path(__file__).resolve().parents[2] / "shazimd"

ALERT = {
    "event": "near_duplicate",
    "level": "warning",
    "path": "/home/ada/Pictures/2024/holidays in the mountains/DSC00123 copy.jpg",
    "match": "/home/ada/Pictures/2024/originals/from the camera/DSC00123.jpg",
    "score": 0.978,
    "verdict": "copy",
    "matches": 12,
}


BANK = {"bank": "/srv/moderation/bank of the year 2026"}


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("bank", [{}, BANK])
def test_an_alert_is_one_line_that_fits(columns: int, bank: dict[str, str]) -> None:
    """The ends of both paths, which have the names, stay; that of a bank, too."""
    line = alert_line(ALERT | bank, columns, len("00:00:00 "))
    assert len(f"00:00:00 {line}") <= columns
    assert "\n" not in line
    assert "copy 98%: " in line
    assert "jpg like " in line
    assert ".jpg and 11 more" in line
    assert line.endswith("of the year 2026)" if bank else "3.jpg and 11 more")


@pytest.mark.parametrize("bank", [{}, BANK])
def test_a_narrow_terminal_has_a_line_for_each_path(bank: dict[str, str]) -> None:
    """At 40 columns two paths on one line would say little."""
    lines = alert_line(ALERT | bank, 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert [line.split()[0] for line in lines] == ["copy", "…/DSC00123", "like", *["(bank"] * len(bank)]


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


def test_faults_are_in_words_with_their_reason() -> None:
    """Of a file, a folder, the store and the model."""
    failed = rendered(event="image_failed", level="warning", path="/p/a.jpg", code="x", reason="no image", cause="x")
    assert failed == "/p/a.jpg can't be read: no image"
    held = {"missing": 1200, "known": 2000, "root": "/p", "reason": "a disk", "remedy": "mount it"}
    assert rendered(event="removal_held", level="warning", **held) == (
        "1,200 of 2,000 images are missing in /p, and stay known: a disk; mount it"
    )
    assert rendered(event="store_migrating", path="/s", schema=6, to=7) == "bringing the store up to date"


@pytest.mark.parametrize(("repeated", "more"), [(1, ""), (10_000, " (and 9,999 more)")])
def test_a_fault_that_repeats_has_a_count(repeated: int, more: str) -> None:
    """The line is the last one of a minute; the others are counted."""
    failed = rendered(event="image_failed", level="warning", path="/p/a.jpg", reason="no image", repeated=repeated)
    assert failed == f"/p/a.jpg can't be read: no image{more}"


def logged_facts() -> dict[str, list[set[str]]]:
    """The names of the facts at each place that logs an event."""
    found: dict[str, list[set[str]]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                facts = {word.arg for word in node.keywords if word.arg is not None}
                found.setdefault(str(node.args[0].value), []).append(facts)
    return found


def test_each_phrase_has_the_facts_that_it_names() -> None:
    """At every place that logs the event; one that is logged nowhere is none."""
    logged = logged_facts()
    for event, phrase in PHRASES.items():
        named = {name for _, name, _, _ in string.Formatter().parse(phrase) if name}
        assert all(named <= facts for facts in logged[event]), event


def test_the_hint_comes_with_the_first_alert_only() -> None:
    """It says how to see them and how to act."""
    renderer = ConsoleRenderer(io.StringIO())
    first, second = (renderer(None, "warning", dict(ALERT)) for _ in range(2))
    assert ("shazimctl clean" in first, "shazimctl clean" in second) == (True, False)


def test_lines_are_written_above_the_live_line() -> None:
    """It is cleared, and drawn again below; an empty one leaves nothing."""
    stream = io.StringIO()
    handler = ConsoleHandler(stream)
    handler.show("scanning: 1")
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "a line", None, None))
    handler.show("")
    handler.show("")
    assert stream.getvalue() == f"{CLEAR_LINE}scanning: 1{CLEAR_LINE}a line\nscanning: 1{CLEAR_LINE}"

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from patience import wait_for

from shazimd.telemetry import log as log_module
from shazimd.telemetry import repeats


class Clock:
    """Timers that end when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[..., None], list[Any]]] = []

    def timer(self, _period_s: float, work: Callable[..., None], args: list[Any]) -> threading.Timer:
        waiting = self.waiting

        class ByHand(threading.Timer):
            def start(self) -> None:
                waiting.append((work, args))

        return ByHand(1000, work, args)

    def end_period(self) -> None:
        due = list(self.waiting)
        self.waiting.clear()
        for work, args in due:
            work(*args)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(repeats, "Timer", clock.timer)
    return clock


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log_module.configure("json", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[tuple[str, Any, Any]]:
    entries = [json.loads(line.lstrip("<0123456789>")) for line in stream.getvalue().splitlines()]
    return [(entry["event"], entry.get("path"), entry.get("repeated")) for entry in entries]


def test_a_fault_that_repeats_is_told_once_with_a_count(stream: io.StringIO, clock: Clock) -> None:
    """The first line comes at once, and at the end of the period the last one with how many there were."""
    log = structlog.get_logger()
    for number in range(5):
        log.warning("image_failed", path=f"/p/{number}", cause="not_an_image")
    assert lines(stream) == [("image_failed", "/p/0", None)]
    clock.end_period()
    assert lines(stream)[1:] == [("image_failed", "/p/4", 4)]


def test_causes_do_not_hide_each_other(stream: io.StringIO, clock: Clock) -> None:
    """Each event and cause has a first line of its own."""
    log = structlog.get_logger()
    log.warning("image_failed", path="/p/a", cause="not_an_image")
    log.warning("image_failed", path="/p/b", cause="too_large")
    log.warning("root_failed", path="/p/c", cause="too_large")
    assert [path for _, path, _ in lines(stream)] == ["/p/a", "/p/b", "/p/c"]


def test_a_fault_that_went_away_is_new_when_it_returns(stream: io.StringIO, clock: Clock) -> None:
    """After a quiet period nothing is counted, and the next line is told at once."""
    log = structlog.get_logger()
    log.warning("image_failed", path="/p/a", cause="x")
    clock.end_period()
    log.warning("image_failed", path="/p/b", cause="x")
    assert lines(stream) == [("image_failed", "/p/a", None), ("image_failed", "/p/b", None)]


def test_alerts_are_never_held_back(stream: io.StringIO, clock: Clock) -> None:
    """A line that names no cause is told each time."""
    for _ in range(3):
        structlog.get_logger().warning("near_duplicate", path="/p/a")
    assert len(lines(stream)) == 3


def test_the_cause_itself_is_not_shown(stream: io.StringIO, clock: Clock) -> None:
    """It only says what counts as the same fault."""
    structlog.get_logger().warning("image_failed", cause="x")
    assert "cause" not in json.loads(stream.getvalue().lstrip("<0123456789>"))


def test_a_real_period_ends_by_itself() -> None:
    """With real timers the count is told without another line to bring it out."""
    processor = repeats.Repeats(period_s=0.01)

    def is_held() -> bool:
        try:
            processor(None, "warning", {"event": "e", "cause": "x"})
        except structlog.DropEvent:
            return True
        return False

    with structlog.testing.capture_logs() as captured:
        while not is_held():  # the period may end between two lines, and the second then begins the next
            pass
        wait_for(lambda: captured)
    assert captured == [{"event": "e", "repeated": 1, "log_level": "warning"}]

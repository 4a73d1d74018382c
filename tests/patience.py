"""Waits of tests: for a condition, and for the clock of file times."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")
PATIENCE_S = 180.0
"""How long a test waits for a condition: a busy machine needs some of it, only a fault needs all."""

EVERY_S = 0.02
"""The longest pause between two looks; the first are shorter. A look at a daemon costs a millisecond of a processor."""
_FIRST_S = 0.001
_CLOCK_OF_FILES = 5
"""CLOCK_REALTIME_COARSE (clock_gettime(2)), which moves every 1 to 10 ms."""


def wait_for(
    condition: Callable[[], T],
    told: Callable[[], object] = lambda: "",
    patience_s: float = PATIENCE_S,
    every_s: float = EVERY_S,
) -> T:
    """Wait until a condition holds, and return its result. If it never does, the test fails with ``told``'s words."""
    end, pause_s = time.monotonic() + patience_s, _FIRST_S
    while not (result := condition()):
        assert time.monotonic() < end, f"{condition} did not come to hold {told()}"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, every_s)
    return result


def tick() -> None:
    """Wait until a change of a file gets another time than earlier ones. Linux before 6.13 takes it from this clock."""
    before = time.clock_gettime_ns(_CLOCK_OF_FILES)
    while time.clock_gettime_ns(_CLOCK_OF_FILES) == before:
        time.sleep(0.001)


def has_ended(process: psutil.Process) -> bool:
    """A zombie, which waits for its parent to ask, has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True

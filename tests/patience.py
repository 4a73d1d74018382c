"""Waits of tests: for a condition, and for the clock of file times."""

import time
from collections.abc import Callable

PATIENCE_S = 180.0
"""How long a test waits for a condition: a busy machine needs some of it, only a fault needs all."""

_EVERY_S = 0.01
_CLOCK_OF_FILES = 5
"""CLOCK_REALTIME_COARSE (clock_gettime(2)), which moves every 1 to 10 ms."""


def wait_for(
    condition: Callable[[], object], told: Callable[[], object] = lambda: "", patience_s: float = PATIENCE_S
) -> None:
    """Wait for a condition. If it does not come to hold, the test fails with what ``told`` returns."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come to hold {told()}"
        time.sleep(_EVERY_S)


def tick() -> None:
    """Wait until a change of a file gets another time than earlier ones. Linux before 6.13 takes it from this clock."""
    before = time.clock_gettime_ns(_CLOCK_OF_FILES)
    while time.clock_gettime_ns(_CLOCK_OF_FILES) == before:
        time.sleep(0.001)

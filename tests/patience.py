"""Waits of tests: for a condition, and for the clock of file times."""

import time

PATIENCE_S = 180.0
"""How long a test waits for a condition: a busy machine needs some of it, only a fault needs all."""

_CLOCK_OF_FILES = 5
"""CLOCK_REALTIME_COARSE (clock_gettime(2)), which moves every 1 to 10 ms."""


def tick() -> None:
    """Wait until a change of a file gets another time than earlier ones. Linux before 6.13 takes it from this clock."""
    before = time.clock_gettime_ns(_CLOCK_OF_FILES)
    while time.clock_gettime_ns(_CLOCK_OF_FILES) == before:
        time.sleep(0.001)

"""Progress of long work on a store: a text, the part done, and the whole (0: unknown), in units of the work's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shazimd.posix.threads import beside
from shazimd.text import size

Report = Callable[[str, int, int], None]

INTERVAL_S = 0.2


def unreported(_text: str, _done: int, _total: int) -> None:
    """A report to nobody."""


def reader_of(report: Report, text: str, total_bytes: int) -> Callable[[int], None]:
    """A function to call with each number of bytes read, of a whole of ``total_bytes``."""
    done = 0

    def on_read(count: int) -> None:
        nonlocal done
        done += count
        report(text, done, total_bytes)

    return on_read


@contextmanager
def growth(report: Report, text: str, descriptor: int) -> Iterator[None]:
    """While entered, report the size of a file that another library writes."""

    def run(ended: threading.Event) -> None:
        while not ended.wait(INTERVAL_S):
            report(f"{text}: {size(os.fstat(descriptor).st_size)}", 0, 0)

    with beside(run, "report"):
        yield

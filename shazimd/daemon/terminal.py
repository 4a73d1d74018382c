"""The first scan on a terminal: a live line with the images done, the rate and the time left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shazimd.posix.threads import beside
from shazimd.protocol.status import RootState
from shazimd.text import scan_progress

INTERVAL_S = 0.5


@contextmanager
def shown_baseline(roots: Callable[[], list[RootState]], show: Callable[[str], None] | None) -> Iterator[None]:
    """While entered, show the first scans of ``roots`` by ``show``, if there is one, until they are complete."""
    if show is None:
        yield
        return

    def run(ended: threading.Event) -> None:
        while not ended.is_set() and (text := baseline_line(roots())) is not None:
            show(text)
            ended.wait(INTERVAL_S)
        show("")

    with beside(run, "live-line"):
        yield


def baseline_line(roots: list[RootState]) -> str | None:
    """The progress of all first scans together; None if none is under way."""
    scans = [root["progress"] for root in roots if root["progress"] is not None and root["state"] != "unavailable"]
    if not scans:
        return None
    totals = [scan["total"] for scan in scans]
    left = [scan["seconds_left"] for scan in scans]
    return scan_progress(
        sum(scan["done"] for scan in scans),
        None if None in totals else sum(total for total in totals if total is not None),
        sum(scan["per_second"] for scan in scans),
        None if None in left else max(seconds for seconds in left if seconds is not None),
    )

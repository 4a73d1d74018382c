"""Progress of the first scans: files done, files there are, rate and time left.

The total comes from a walk of its own, which reads only directories: a scan knows the number of files at its end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import takewhile

import structlog

from shazimd.protocol.status import BaselineProgress
from shazimd.store.base import Store
from shazimd.types import FileState
from shazimd.watch.filters import Filter
from shazimd.watch.listing import count_files

log = structlog.get_logger()

WINDOW_S = 15.0
"""The rate is that of the last seconds: a folder of large pictures takes longer than the average."""
SAMPLES_MAX = 60
HUNG_S = 5.0
"""How long a stop waits for the walk, which may hang in a dead mount."""


class _Counted:
    """The numbers of one root."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self.samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], SAMPLES_MAX)

    def add(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.samples[-1][0] >= WINDOW_S / SAMPLES_MAX:
            self.samples.append((now, self.done))
        while len(self.samples) > 1 and now - self.samples[0][0] > WINDOW_S:
            self.samples.popleft()

    def progress(self) -> BaselineProgress:
        since, before = self.samples[0]
        elapsed = time.monotonic() - since
        rate = (self.done - before) / elapsed if elapsed > 0 else 0.0
        total = None if self.total is None else max(self.total, self.done)
        left = None if total is None or rate <= 0 else (total - self.done) / rate
        return {
            "done": self.done,
            "total": total,
            "per_second": round(rate, 1),
            "seconds_left": None if left is None else round(left, 1),
        }


class BaselineCount:
    """Counts the files of the roots without a baseline. Safe from any thread."""

    def __init__(self, store: Store, roots: Mapping[bytes, Filter]) -> None:
        self._store = store
        self._roots = roots
        self._lock = threading.Lock()
        self._counted = {root: _Counted() for root in roots}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._count, name="baseline-count", daemon=True)

    def start(self) -> None:
        """Start to count what is there; returns at once."""
        if self._roots:
            self._thread.start()

    def stop(self) -> None:
        """End the walk; afterwards the store may be closed. A walk that hangs in a dead mount is left, as the thread is
        a daemon, and does not touch the store if it ever goes on."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(HUNG_S)

    def note(self, root: bytes) -> None:
        """Count a file of a root as done."""
        with self._lock:
            if root in self._counted:
                self._counted[root].add()

    def of(self, root: bytes) -> BaselineProgress | None:
        """The progress of a root; None for one that had its baseline at the start of this run."""
        with self._lock:
            return self._counted[root].progress() if root in self._counted else None

    def _count(self) -> None:
        for root, rules in self._roots.items():
            if self._stopping.is_set():
                return
            with self._store.read() as reader:  # the files of an interrupted baseline
                known = sum(1 for _ in takewhile(lambda _: not self._stopping.is_set(), reader.walk(root)))
            total = count_files(root, rules, self._stopping.is_set)
            with self._lock:
                counted = self._counted[root]
                counted.done += known
                counted.samples = deque([(at, done + known) for at, done in counted.samples], SAMPLES_MAX)
                counted.total = total


def log_baseline_complete(store: Store, root: bytes) -> None:
    """Log the number of images of a root. A million of them take seconds."""
    with store.read() as reader:
        images = sum(row.state is FileState.INDEXED for _, row in reader.walk(root))
    log.info("baseline_complete", path=root, images=images)

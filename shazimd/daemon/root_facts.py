"""The failed files and the last alert of each root, for the status: read from the store, and kept between requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from shazimd.ingest.alerts import AlertRecord, as_wire
from shazimd.posix.mounts import is_at_or_below
from shazimd.protocol import Alert
from shazimd.store.base import Reader, Store

ALERTS_LOOKED_AT_MAX = 10_000
"""Alerts that are read at first to find the last one of each root: 0.1 s. A root whose last alert is older has none."""
RECOUNTED_AFTER_S = 60.0
"""Failed files are counted again when their total number changes, and after this time: one may have been mended while
another failed."""
SHARE_MAX = 0.05
"""Most of the time that may go into counting: each file is looked at, which takes a second for a million."""


class RootFacts(NamedTuple):
    failed: int
    """files below the root that could not be read or decoded"""
    last_alert: Alert | None


class FactsOfRoots:
    """Safe from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._roots: tuple[bytes, ...] = ()
        self._last: dict[bytes, Alert] = {}
        self._seen = 0
        """id of the latest alert that was read"""
        self._failed: dict[bytes, int] = {}
        self._total = 0
        """failed files at the last count"""
        self._counted_at = 0.0
        self._took_s = 0.0

    def of(self, roots: Sequence[bytes]) -> list[RootFacts]:
        """The facts of each root, in the order given."""
        with self._lock, self._store.read() as reader:
            if self._roots != tuple(roots):
                self._roots, self._last, self._seen, self._total = tuple(roots), {}, 0, 0
            self._read_alerts(reader)
            self._count_failed(reader)
            return [RootFacts(self._failed.get(root, 0), self._last.get(root)) for root in roots]

    def _read_alerts(self, reader: Reader) -> None:
        if self._seen:
            for number, raw in reader.alerts(after=self._seen):
                self._note(number, AlertRecord.decode(raw))
                self._seen = number
            return
        for number, raw in reader.latest_alerts(ALERTS_LOOKED_AT_MAX):
            self._seen = max(self._seen, number)
            record = AlertRecord.decode(raw)
            if self._root_of(record.path) not in self._last:
                self._note(number, record)
            if len(self._last) == len(self._roots):
                return

    def _note(self, number: int, record: AlertRecord) -> None:
        root = self._root_of(record.path)
        if root is not None:
            self._last[root] = as_wire(number, record)

    def _count_failed(self, reader: Reader) -> None:
        total, now = reader.counts()["failed"], time.monotonic()
        if not total:
            self._failed, self._total = {}, 0
            return
        is_old = now - self._counted_at > RECOUNTED_AFTER_S
        is_first = not self._total
        if is_first or ((total != self._total or is_old) and self._took_s < SHARE_MAX * (now - self._counted_at)):
            self._failed = dict.fromkeys(self._roots, 0)
            for path in reader.failed():
                if (root := self._root_of(path)) is not None:
                    self._failed[root] += 1
            self._total, self._counted_at = total, time.monotonic()
            self._took_s = self._counted_at - now

    def _root_of(self, path: bytes) -> bytes | None:
        return next((root for root in self._roots if is_at_or_below(path, root)), None)

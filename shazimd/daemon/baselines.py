"""The first scans of the roots: the files that belong to them, and their completion once all of these are ingested."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from functools import partial

from shazimd.daemon.roots import Roots
from shazimd.ingest.commit import Committer
from shazimd.ingest.scan import Findings
from shazimd.ingest.values import decoders_of_failures, set_baseline, set_decoders_of_failures
from shazimd.posix.mounts import is_at_or_below
from shazimd.store.base import Store


class Baselines:
    """Of one run, for its thread; ``compared_at`` for any."""

    def __init__(
        self, roots: Roots, watched: Collection[bytes], store: Store, committer: Committer, decoders: str
    ) -> None:
        """``decoders``: their versions and limits. Files that failed with others are to be tried again."""
        self._roots = roots
        self._watched = watched
        self._committer = committer
        with store.read() as reader:
            is_tried = decoders_of_failures(reader) == decoders
        self._decoders = None if is_tried else decoders
        """set until the files that failed with other decoders were tried again"""
        self._unsettled: set[bytes] = set()
        """files of a baseline found soon after a change: part of the baseline once debounced"""
        self._scanned: dict[bytes, float] = {}
        """Unix time of each root's last full scan since the start"""

    @property
    def retries_failed(self) -> bool:
        """Whether scans are to read failed files again."""
        return self._decoders is not None

    def compared_at(self, root: bytes) -> float | None:
        """Unix time of a root's last full scan since the start."""
        return self._scanned.get(root)

    def are_due(self) -> bool:
        """Whether only files that are still to be ingested hold up ``completed``."""
        return bool(self._retried() or self._roots.without_baseline & self._scanned.keys())

    def settle(self, path: bytes) -> bool:
        """Whether a file that was debounced is part of a baseline; it was noted for the last time."""
        is_part = path in self._unsettled
        self._unsettled.discard(path)
        return is_part

    def note(self, findings: Findings, delayed: set[bytes]) -> None:
        """Note the outcome of a scan's step; ``delayed`` are files still written, perhaps."""
        self._unsettled.difference_update(findings.look)
        if self._roots.without_baseline:
            self._unsettled |= delayed.union(findings.unsettled)
        if findings.completed is not None:
            self._scanned[findings.completed] = time.time()

    def drop_lost(self, root: bytes, holds: Callable[[bytes], bool]) -> None:
        """After a full scan, drop the files of a root not held by the debouncer: with too many events a directory
        stands for its files, and no scan finds files renamed away with the directory."""
        self._unsettled = {path for path in self._unsettled if not is_at_or_below(path, root) or holds(path)}

    def completed(self) -> Iterator[bytes]:
        """Store the completion of scans; the roots that had their first. For a time without a backlog: a baseline is
        complete when all files of the first full scan are ingested."""
        if self._unsettled:
            return
        if self._decoders and self._retried():
            self._committer.submit(partial(set_decoders_of_failures, versions=self._decoders)).result()
            self._decoders = None
        for root in self._roots.without_baseline & self._scanned.keys():
            self._committer.submit(partial(set_baseline, root=root)).result()
            self._roots.without_baseline.discard(root)
            yield root

    def _retried(self) -> bool:
        return self.retries_failed and self._scanned.keys() >= set(self._watched)

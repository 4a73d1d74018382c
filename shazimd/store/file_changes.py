"""The durable writes that changed files of this host, counted, with a wait for the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEFERRED_MAX_S = 0.5
"""A search takes a tenth of a second; a slow one holds back other hosts no longer than that."""


class FileChanges:
    """Thread-safe."""

    def __init__(self, deferred_max_s: float = DEFERRED_MAX_S) -> None:
        self._deferred_max_s = deferred_max_s
        self._changed = threading.Condition()
        self._number = 0
        self._deferring: set[object] = set()
        """the blocks of ``deferring`` that were entered and not left"""
        self._ended = False

    @property
    def number(self) -> int:
        """Writes since the opening of the store."""
        return self._number

    def add(self) -> None:
        """Count a durable write."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Let waits last until this block is left, but no longer than the longest deferral: to tell others of a file
        takes processor time that the search for its own alert needs. A write in it is counted at once."""
        block = object()
        with self._changed:
            self._deferring.add(block)
        try:
            yield
        finally:
            with self._changed:
                self._deferring.remove(block)
                self._changed.notify_all()

    def wait(self, after: int, timeout_s: float) -> None:
        """Wait until there were more writes than ``after`` and those blocks of ``deferring`` were left that were
        entered by then, the time is over, or waits were ended."""
        with self._changed:
            if self._changed.wait_for(lambda: self._number > after or self._ended, timeout_s):
                earlier = frozenset(self._deferring)
                self._changed.wait_for(lambda: self._ended or earlier.isdisjoint(self._deferring), self._deferred_max_s)

    def end_waits(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

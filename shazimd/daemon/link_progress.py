"""How far the link is, as it says when it asks: for the status and the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from shazimd.daemon.feed import owed
from shazimd.posix import memory
from shazimd.protocol.cluster import ChangesPage
from shazimd.protocol.status import ClusterStatus
from shazimd.store.base import Store

KEPT_BYTES = 8 << 20
"""Of each arena, two at most: room for two requests and what is made of them."""


class LinkProgress:
    """Of this run of the daemon. Thread-safe: each value is replaced as a whole."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: str | None = None
        self._told_all_at: float | None = None
        self._behind: int | None = None
        self._brought_all_at: float | None = None

    def asked(self, after: str | None, page: ChangesPage) -> None:
        """Note that the link has told all changes up to a position, and what came after it."""
        self._told = after or self._told
        if page["complete"] and not page["changes"]:
            self._told_all_at = self._monotonic()

    def is_behind(self, changes: int) -> None:
        """Note how many changes of other hosts the link has still to bring.

        While it brings many, freed memory is kept for the next of them. Otherwise the kernel clears the same pages anew
        for each request of 2 MB: a fifth of the daemon's time."""
        if changes and not self._behind:
            memory.keep_freed_memory(KEPT_BYTES)
        elif self._behind and not changes:
            memory.return_freed_memory()
        self._behind = changes
        if not changes:
            self._brought_all_at = self._monotonic()

    def status(self, store: Store) -> ClusterStatus | None:
        """None while nothing is shared."""
        with store.read() as reader:
            if not reader.changes.openings():
                return None
            return {
                "owed": None if self._told is None else owed(reader, self._told),
                "tell_lag_s": self._since(self._told_all_at),
                "behind": self._behind,
                "follow_lag_s": self._since(self._brought_all_at),
                "undecided": reader.count_pending_alerts(),
            }

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else round(self._monotonic() - moment, 1)

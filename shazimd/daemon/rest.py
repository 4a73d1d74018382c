"""Memory that a daemon at rest gives back: a start and an ingest leave a third of it behind that nothing uses."""

from __future__ import annotations

from shazimd.ingest.lanes import Jobs, Lane
from shazimd.posix import memory
from shazimd.store.base import Store

REST_S = 10.0
"""Without an event. The pages that are used again take a millisecond to come back, some of them from the disk where
memory was short."""


class Rest:
    """Of one run, for its thread."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self.after_s: float | None = REST_S
        """how long to wait for an event before ``begin``; None at rest"""

    def end(self) -> None:
        """Something has happened."""
        self.after_s = REST_S

    def begin(self) -> None:
        """Give back the code of libraries that only the start used, the pages of the store, and freed memory; while
        jobs wait or run, later."""
        if self.after_s is None or self._jobs.pending() or self._jobs.pending(Lane.IDLE):
            return
        self.after_s = None
        memory.release(memory.library_pages())
        self._store.release_pages()
        memory.trim()

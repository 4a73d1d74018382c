"""Memory that a daemon gives back: a start and an ingest leave a third of it behind that nothing uses."""

from __future__ import annotations

from shazimd.ingest.lanes import Jobs, Lane
from shazimd.posix import memory
from shazimd.store.base import Store

REST_S = 10.0
"""Without an event. The pages that are used again take a millisecond to come back, some of them from the disk where
memory was short. At work code and store go as often: 10 MiB and more that only the start used."""


class Rest:
    """Of one run, for its thread."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._code = memory.LibraryCode(REST_S)
        self.after_s: float | None = REST_S
        """how long to wait for an event before ``begin``; None at rest"""

    def end(self) -> None:
        """Something happens. Now and then code and store go, and what the jobs at hand use comes back."""
        self.after_s = REST_S
        if self._code.release_at_work():
            self._store.release_pages()

    def begin(self) -> None:
        """Give back the code of libraries that only the start used, the pages of the store, and freed memory; while
        jobs wait or run, freed memory later."""
        if self.after_s is None:
            return
        if self._jobs.pending() or self._jobs.pending(Lane.IDLE):
            self.end()
            return
        self.after_s = None
        self._code = memory.LibraryCode(REST_S)
        self._code.release()
        self._store.release_pages()
        memory.trim()

"""The comparison of all pictures with each other, as jobs in the idle lane."""

from __future__ import annotations

import structlog

from shazimd.ingest.lanes import Jobs, Lane
from shazimd.ingest.relate import Relating
from shazimd.search.duplicates import Duplicates, Scoring
from shazimd.search.keep import KeepRules

log = structlog.get_logger()

COMPARED_TOLD = 100
"""Contents whose comparison is worth a line in the log, after the first scans: not the files of a minute. The line has
the number of groups, and counting them takes a second at 100,000 images."""


class Comparing:
    def __init__(
        self, relating: Relating, jobs: Jobs, duplicates: Duplicates, keep: KeepRules, scoring: Scoring
    ) -> None:
        """``keep`` and ``scoring``: as groups are listed afterwards."""
        self._relating = relating
        self._jobs = jobs
        self._duplicates = duplicates
        self._keep = keep
        self._scoring = scoring
        self._untold = 0
        """contents compared since the last line in the log"""
        self._is_awaited = False

    def offer(self) -> None:
        """Have a job find the relations of some contents, and offer the next."""
        self._jobs.offer("relate", self._step, Lane.IDLE)

    def sum_up(self) -> None:
        """Have the next end of the comparison logged, however few contents it was: a first scan is complete."""
        self._is_awaited = True
        self.offer()

    def try_again(self) -> None:
        """Compare the contents, too, whose files did not answer: a root was compared with the disk."""
        if self._relating.try_again():
            self.offer()

    def _step(self) -> None:
        if self._relating.step():
            self.offer()
            return
        contents = self._relating.finished()
        self._untold += contents
        if contents >= COMPARED_TOLD or (self._is_awaited and self._untold):
            groups = self._duplicates.count(self._keep, self._scoring)
            log.info("pictures_compared", contents=self._untold, duplicate_groups=groups)
            self._untold, self._is_awaited = 0, False
        elif contents:
            log.debug("pictures_compared", contents=contents)
        self._duplicates.prepare(self._keep, self._scoring)

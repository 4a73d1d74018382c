"""Finds the relations between contents in the background: of a baseline, and of files that came without an alert.

Contents wait in the store, so a stop loses nothing. Alerts write the relations that they found themselves; these are
not verified again.
"""

from __future__ import annotations

import time
from contextlib import suppress

import structlog

from shazimd.errors import WorkerFailed
from shazimd.ingest.commit import Committer
from shazimd.protocol import RelationsStatus
from shazimd.search.library import Library
from shazimd.search.partners import PartnerCheck, check_partners
from shazimd.search.query import Verify
from shazimd.store.base import Writer
from shazimd.types import Relation

log = structlog.get_logger()

BATCH = 8
"""Contents in a step, verified at the same time: a second of work at most, after which newer work has its turn."""


class Relating:
    """Steps are for one thread at a time."""

    def __init__(self, library: Library, committer: Committer, verify: Verify | None) -> None:
        """``verify``: None if the score alone counts; then there are no relations."""
        self._library = library
        self._committer = committer
        self._verify = verify
        self._done = 0
        self._spent_s = 0.0

    def step(self) -> bool:
        """Find the relations of some contents; False if none is left."""
        if self._verify is None or not self._library.words_are_loaded():
            return False
        started = time.monotonic()
        with self._library.store.read() as reader:
            contents = reader.relations.unrelated(BATCH)
            checks = []
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    checks.append(check_partners(self._library, reader, self._verify, content))
        if not contents:
            return False
        found = [(check, _relations(check)) for check in checks]
        self._committer.submit(lambda writer: _write(writer, found)).result()
        self._done += len(contents)
        self._spent_s += time.monotonic() - started
        return True

    def finished(self) -> int:
        """The number of contents related since the last call, 0 while any is left."""
        done, self._done, self._spent_s = self._done, 0, 0.0
        return done

    def status(self) -> RelationsStatus:
        """Progress; the time left is an estimate, and counts work alone."""
        with self._library.store.read() as reader:
            left = reader.relations.count_unrelated() if self._verify else 0
            known = reader.counts()["contents"]
        done = self._done
        seconds = round(left * self._spent_s / done, 1) if left and done else None
        return {"done": known - left, "left": left, "seconds_left": seconds if left else 0.0}


def _relations(check: PartnerCheck) -> list[Relation]:
    try:
        return list(check.relations())
    except WorkerFailed as error:  # its partners may find the relation from their side
        log.warning("relations_not_found", content=check.content, code=error.code, reason=str(error))
        return []


def _write(writer: Writer, found: list[tuple[PartnerCheck, list[Relation]]]) -> None:
    """A content with new features meanwhile is related again."""
    for check, relations in found:
        with suppress(KeyError):
            if writer.features(check.content) == check.features:
                writer.relations.put(relations)
                writer.relations.unmark([check.content])

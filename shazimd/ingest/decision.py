"""The decision on a file's alert: which known files match, and whether the alert can be decided yet.

Files of a match may be missing: they were likely renamed a moment ago, and their rows follow soon. Without another
match such a decision is not final.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from shazimd.errors import Unreadable
from shazimd.fingerprint import Query
from shazimd.ingest.alerts import AlertRecord, log_related
from shazimd.ingest.arrivals import Arrivals
from shazimd.ingest.disk import Disk, FoundFile
from shazimd.ingest.rules import IngestRules
from shazimd.posix.mounts import is_at_or_below
from shazimd.search.fetching import Fetch
from shazimd.search.query import Search
from shazimd.search.scope import OWN, Scope
from shazimd.store.base import Reader, Store
from shazimd.types import ContentId, Digest, Match, Relation, Stat, UserDecision, Verdict

MATCHES_MAX = 100
"""Limit of the matches that an alert counts: a higher count adds no information."""


class OwnDecisions(NamedTuple):
    """A content, and persons' decisions about it."""

    digest: Digest
    made: Sequence[UserDecision]

    @classmethod
    def read(cls, reader: Reader, digest: Digest) -> OwnDecisions:
        return cls(digest, [decision for _, decision in reader.decisions.about(digest)])

    def silence(self, other: Digest) -> bool:
        """Whether this content and the other are no longer reported as duplicates."""
        return any(decision.silences(self.digest, other) for decision in self.made)


class Across(NamedTuple):
    """The part of a decision that is about other hosts: their files match, and those of this host do not."""

    order: int
    """the cluster's number of the file: files with this number or a greater one came later; 0: all match"""
    fetch: Fetch | None = None
    """brings local features that are not kept here"""


class Candidate(NamedTuple):
    """A file to decide on."""

    path: bytes
    found: FoundFile | None
    """None for a missing file"""
    started: float
    """``time.perf_counter`` at the start of its ingest"""
    arrival: int | None = None
    """Its number (see ``Arrivals``): later files do not match. None before the commit: all may match."""
    decided: OwnDecisions | None = None
    across: Across | None = None
    """None: files of this host match, and others do not"""


class Decision(NamedTuple):
    alert: AlertRecord | None
    matches: Sequence[Match] = ()
    """the contents that match, each with one of its files, strongest first"""
    missing: Sequence[bytes] = ()
    """known files that would match, but are missing, or do not answer"""

    @property
    def is_final(self) -> bool:
        return self.alert is not None or not self.missing

    def relations(self, content: ContentId) -> Iterator[Relation]:
        """The verified relations of the file's content to the matches."""
        for match in self.matches:
            if match.verification is not None and match.verification.verdict is not None:
                yield Relation(content, match.content, match.verification)


class Decider:
    def __init__(self, store: Store, search: Search, rules: IngestRules, disk: Disk, arrivals: Arrivals) -> None:
        self._store = store
        self._search = search
        self._rules = rules
        self._disk = disk
        self._arrivals = arrivals

    def by_bytes(self, file: Candidate, exact: Set[ContentId], files: int) -> Decision | None:
        """The alert for a file whose bytes or pixels are those of known files; None if there are no such files now.

        ``files``: ``count_files`` of ``exact``, as of the snapshot that gave these. This takes a stat of one file and
        no search: a copy of a folder is the most common way to get duplicates."""
        if Verdict.EXACT not in self._rules.matching(file.path).verdicts:
            return None
        scope = self._scope(file)
        if scope.silences is not None:
            with self._store.read() as reader:
                exact = {content for content in exact if not scope.is_silenced(reader, content)}
                files = count_files(reader, exact, file.path)
        admission = _Admission(file, self._disk, self._arrivals)
        match = next(self._search.within(scope).exact_matches(exact, admission), None)
        return Decision(self._record(file, [match], lambda: files, match.damaged), [match]) if match else None

    def by_search(
        self, file: Candidate, query: Query, content: ContentId | None, exact: Set[ContentId] | None = None
    ) -> Decision:
        """Search all known files for matches. Parameters as in ``Search.matches``. Raises WorkerFailed."""
        settings = self._rules.matching(file.path)
        admission = _Admission(file, self._disk, self._arrivals)
        scope = self._scope(file)
        search = self._search if scope == OWN and not self._knows_foreign() else self._search.within(scope)
        matches = search.matches(
            query,
            content,
            weights=settings.weights,
            threshold=settings.threshold,
            limit=MATCHES_MAX,
            admit=admission,
            exact=exact,
            fetch=file.across.fetch if file.across else None,
        )
        alerting = [match for match in matches if settings.alert_on(match)]
        log_related(file.path, [match for match in matches if not settings.alert_on(match)], alerts=bool(alerting))
        contents = {match.content for match in alerting}
        count = partial(self._count_files, contents, file.path)
        alert = self._record(file, alerting, count, query.fingerprint.damaged) if alerting else None
        return Decision(alert, matches, admission.missing)

    def _scope(self, file: Candidate) -> Scope:
        """The known files that may match, by their places and by persons' decisions."""
        silences = file.decided.silence if file.decided is not None and file.decided.made else None
        return Scope(self._rules.roots.only_against(file.path), file.across is not None, silences)

    def _knows_foreign(self) -> bool:
        """Whether any contents may be of other hosts alone."""
        with self._store.read() as reader:
            return reader.counts()["foreign"] > 0

    def _record(
        self, file: Candidate, matches: Sequence[Match], count_all: Callable[[], int], damaged: bool
    ) -> AlertRecord:
        """An alert that names the best match, with the number of files of all."""
        took_ms = (time.perf_counter() - file.started) * 1000
        banks, best = self._rules.roots.only_against(file.path), matches[0]
        count = len(matches) if banks or file.across else count_all()
        bank = next((bank for bank in banks if is_at_or_below(best.path, bank)), None)
        return replace(AlertRecord.of(file.path, best, count, took_ms, bank), damaged=damaged)

    def _count_files(self, contents: Set[ContentId], without: bytes) -> int:
        with self._store.read() as reader:
            return count_files(reader, contents, without)


def count_files(reader: Reader, contents: Set[ContentId], without: bytes) -> int:
    """The number of this host's files of these contents for an alert: without the alert's own file, at least 1 for the
    named match, and at most MATCHES_MAX."""
    row = reader.file(without)
    count = -1 if row is not None and row.content in contents else 0
    for content in contents:
        if count >= MATCHES_MAX:
            break
        count += reader.count_files(content, MATCHES_MAX + 1)
    return min(max(count, 1), MATCHES_MAX)


class _Admission:
    """Which known files in scope may be named as matches: not the file itself, nor another name of it, nor later
    arrivals, nor files that changed since."""

    def __init__(self, file: Candidate, disk: Disk, arrivals: Arrivals) -> None:
        self.missing: list[bytes] = []
        self._file = file
        self._disk = disk
        self._arrivals = arrivals

    def __call__(self, path: bytes, known: Stat, digest: Digest) -> bool:
        arrival = self._file.arrival
        if self._file.across is not None:  # ctime of a foreign file: its number, see ``foreign``
            order = self._file.across.order
            return order == 0 or known.ctime_ns < order
        if path == self._file.path or (arrival is not None and self._arrivals.is_later(path, arrival)):
            return False
        try:
            found = self._disk.look_briefly(path)
        except Unreadable:
            return False
        if found is None:
            self.missing.append(path)
            return False
        own = self._file.found
        is_same_file = own is not None and own.is_same_file(found)
        return not is_same_file and self._disk.is_current(path, known, digest, found)

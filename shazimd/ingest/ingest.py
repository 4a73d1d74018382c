"""Ingest of one file: compare with the store, read, digest, decode new bytes, commit, decide on an alert.

One thread ingests a file from start to end, and mostly waits for the disk or for a worker process. Ingest is
idempotent: the disk is authoritative, and the row of a path is made to agree with its file. The caller acts on the
outcome.

Known bytes take a single durable write: the decision comes first, and the row and its alert share a transaction. New
bytes, and known bytes in a race with another file, take two. The first adds the row with a pending alert, the second
replaces the pending alert by the alert, if any (see ``pending``). After a crash the pending alert is decided without
another decode. Of two similar files with simultaneous arrival, only the later raises an alert (see ``Arrivals``).

A file may be renamed or deleted at any time. If a file is missing when its pending alert is decided, its row is removed
with the pending alert: the ingest under the new path raises the alert. ``apply_move`` does the same for a rename
reported earlier. Thus no stale row stays, and no alert is lost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shazimd.errors import ModelError, ShazimdError, StoreError, TooLarge, Unreadable, WorkerFailed, WorkerLost
from shazimd.fingerprint import Fingerprint
from shazimd.ingest.across import CrossHostAlerts
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.arrivals import Arrivals
from shazimd.ingest.commit import Committer
from shazimd.ingest.decision import Candidate, Decider, Decision
from shazimd.ingest.disk import Disk, FoundFile
from shazimd.ingest.identify import Decoders, FileContent, FileVersion, Identifier, query_of
from shazimd.ingest.moves import apply_move
from shazimd.ingest.pending import PendingAlert, PendingAlerts, is_same_picture
from shazimd.ingest.retries import Retries
from shazimd.ingest.rules import IngestRules
from shazimd.protocol import Alert
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Writer
from shazimd.types import UNREAD_STAT, ContentId, FileRow, FileState, Stat

if TYPE_CHECKING:
    from shazimd.telemetry.metrics import Metrics

log = structlog.get_logger()


class Outcome(Enum):
    """The result of an ingest, on which the run acts."""

    UNCHANGED = auto()
    """the store agrees with the disk"""
    STORED = auto()
    PUT_OFF = auto()
    """stored, and the decision on its alert waits for known files that are missing (see ``pending``)"""
    FAILED = auto()
    """the file cannot be read or decoded; the row has the reason"""
    OTHER_NAMES = auto()
    """stored or failed, and the file has other hard links: they changed too, but the kernel reports a single path"""
    REMOVED = auto()
    """the file was deleted, and now its row too"""
    POSTPONED = auto()
    """a worker was lost by no fault of the file: to be tried again after ``Retries.delay_s``"""
    UNSETTLED = auto()
    """the file or its row changed during the ingest, which is to be repeated later"""
    MISSING = auto()
    """a known file is missing without a deletion event: its disk may be away, and a scan must decide"""


class _Made(NamedTuple):
    """A decision made before the commit."""

    decision: Decision
    last_arrival: int

    def holds(self, last_arrival: int) -> bool:
        """Whether it still holds: there is an alert, or no other file arrived since."""
        decision = self.decision
        return decision.alert is not None or (decision.is_final and self.last_arrival == last_arrival)


class _Stored(NamedTuple):
    content: ContentId
    arrival: int
    new: Fingerprint | None
    """of new bytes"""
    pending: PendingAlert | None = None
    alert: Alert | None = None
    is_outdated: bool = False
    """its vector or local features are to be made anew"""


class Ingest:
    def __init__(
        self,
        library: Library,
        committer: Committer,
        decoders: Decoders,
        search: Search,
        alerts: Alerts,
        rules: IngestRules,
        metrics: Metrics,
    ) -> None:
        self._library = library
        self._committer = committer
        self._rules = rules
        self._metrics = metrics
        self._disk = Disk(rules.roots)
        self._arrivals = Arrivals()
        self._identifier = Identifier(library, decoders, self._disk, self._arrivals)
        self.memory = self._identifier.memory
        self.retries = Retries()
        self._decider = Decider(library.store, search, rules, self._disk, self._arrivals)
        self.pending = PendingAlerts(library, committer, alerts, self._decider, self._disk, self._arrivals, metrics)
        later = Decider(library.store, search.in_background(), rules, self._disk, self._arrivals)
        self.across = CrossHostAlerts(library, committer, later, self.pending)

    def ingest(self, path: bytes, *, deleted: bool = False, is_deep: bool = False) -> Outcome:
        """Make the row of ``path`` agree with its file, and raise an alert if the file is a near-duplicate.

        ``deleted``: the kernel reported a deletion or a move to elsewhere: the row of a missing file is removed.
        ``is_deep``: the file is read though its stat is unchanged."""
        started = time.perf_counter()
        with self._committer.turn() as turn:
            with self._library.store.read() as reader:
                before = reader.file(path)
            if self._rules.roots.stalling(path) is not None:
                turn.release()
            found = None
            try:
                found = self._disk.look(path)
                if found is None:
                    turn.release()
                    return self._absent(path, before, deleted=deleted)
                if before is not None and not is_deep and found.stat.is_unchanged_since(before.stat):
                    return Outcome.UNCHANGED
                if before is not None and self.retries.is_given_up(path, found.stat):
                    return Outcome.FAILED
                outcome = self._ingest_version(FileVersion(path, found, before, started, turn))
            except Unreadable as error:
                turn.release()
                return self._unreadable(path, found, before, error)
        is_rewritten = (
            before is not None
            and before.stat.inode == found.stat.inode
            and before.stat.without_ctime != found.stat.without_ctime  # ctime alone: a new link, another mode
        )
        if is_rewritten and found.names > 1 and outcome in (Outcome.STORED, Outcome.FAILED):
            return Outcome.OTHER_NAMES
        return outcome

    def _absent(self, path: bytes, before: FileRow | None, *, deleted: bool) -> Outcome:
        self.retries.done(path)
        if before is None:
            return Outcome.UNCHANGED
        if not deleted:
            return Outcome.MISSING
        self._committer.submit(lambda writer: writer.remove_file(path)).result()
        log.debug("image_gone", path=path)
        return Outcome.REMOVED

    def _unreadable(self, path: bytes, found: FoundFile | None, before: FileRow | None, error: Unreadable) -> Outcome:
        is_indexed = before is not None and before.content is not None
        if found and before and is_indexed and found.stat.without_ctime == before.stat.without_ctime:
            return Outcome.UNCHANGED  # a chmod: the next scan tries to read it again
        return self._fail(path, UNREAD_STAT, before, error)

    def _ingest_version(self, file: FileVersion) -> Outcome:
        limit, stat = self._rules.max_file_bytes, file.found.stat
        if stat.size > limit:
            error = TooLarge(f"{stat.size} bytes, expected at most {limit}")
            file.turn.release()
            return self._fail(file.path, stat, file.before, error)
        silent = self._rules.roots.silent(file.path)
        with ExitStack() as until_stored:
            until_stored.enter_context(self._committer.coming())
            try:
                content = self._identifier.content(file, until_stored, silent=silent)
            except Unreadable:
                raise
            except WorkerLost as error:
                if self.retries.note(file.path, stat):
                    log.info("image_postponed", path=file.path, reason=str(error), cause=error.code)
                    return Outcome.POSTPONED
                return self._fail(file.path, UNREAD_STAT, file.before, error)
            except ShazimdError as error:
                self.retries.done(file.path)
                known = UNREAD_STAT if isinstance(error, ModelError) else stat
                return self._fail(file.path, known, file.before, error)
            try:
                return Outcome.UNSETTLED if content is None else self._store(file, content, silent=silent)
            except KeyError:  # known bytes were removed for good meanwhile
                return Outcome.UNSETTLED

    def _store(self, file: FileVersion, content: FileContent, *, silent: bool) -> Outcome:
        """Decide and commit. Raises KeyError if known bytes were removed for good meanwhile."""
        self.retries.done(file.path)
        if content.known and file.before == FileRow(file.found.stat, FileState.INDEXED, content.known):
            return Outcome.UNCHANGED
        made = None
        if content.known and not silent and not _is_moved_or_touched(file, content):
            made = self._decided(file, content)
            if self._disk.is_missing(file.path):
                return self._absent(file.path, file.before, deleted=False)
        with self._library.store.file_changes.deferring():
            stored = self._commit(file, content, made, silent=silent)
            if stored is None:
                return Outcome.UNSETTLED
            if stored.is_outdated:  # the backfill finds the file only now
                self._library.filling.want(stored.content)
            self._count_stored(file, stored, decoded=content.known is None)
            if stored.pending is not None:
                return Outcome.STORED if self.pending.decide(stored.pending) else Outcome.PUT_OFF
        return Outcome.MISSING if self._disk.is_missing(file.path) else Outcome.STORED

    def _decided(self, file: FileVersion, content: FileContent) -> _Made | None:
        """The decision on the alert of known bytes; None if a worker failed, or the backfill is to work first. Raises
        KeyError for a removed content."""
        candidate = Candidate(file.path, file.found, file.started, decided=content.decided)
        decision = self._decider.by_bytes(candidate, content.exact, content.files)
        if decision is None and content.is_outdated:  # the pending alert waits for the backfill
            return None
        if decision is None:
            file.turn.release()
            assert content.known is not None
            with self._library.store.read() as reader:
                known = reader.fingerprint(content.known, self._library.model_id)
                version, has_vector = reader.made(content.known, self._library.model_id)
            lacks_features = version == self._library.features_version and not known.features
            if lacks_features or (has_vector and known.signals.fv is None):  # damaged: wanted from the backfill
                return None
            if self._library.awaits_vectors(known.model):  # the pending alert waits for them
                return None
            query = query_of(known)
            try:
                decision = self._decider.by_search(candidate, query, content.known, content.exact)
            except WorkerFailed:  # the pending alert is decided later
                return None
        return _Made(decision, content.last_arrival)

    def _commit(self, file: FileVersion, content: FileContent, made: _Made | None, *, silent: bool) -> _Stored | None:
        """Store a file and its content, with its alert if decided, else with a pending alert if needed.

        None, and nothing is stored, if the row of the path has changed: another file was moved there meanwhile. Raises
        KeyError if known bytes were removed for good meanwhile."""
        path = file.path

        def work(writer: Writer) -> _Stored | None:
            if writer.file(path) != file.before:
                return None
            is_foreign = content.known is None and writer.content(content.digest) is not None
            stored = content.known or self._add_content(writer, content)
            was_known = content.known is not None or is_foreign
            is_outdated = was_known and self._library.is_outdated(writer, stored)
            if content.source is not None:
                apply_move(writer, content.source, path)
            known = file.before if content.source is None else writer.file(path)
            writer.put_file(path, FileRow(file.found.stat, FileState.INDEXED, stored))
            is_same = known is not None and is_same_picture(writer, known.content, stored)
            new = content.query.fingerprint if content.query is not None else None
            if silent or is_same or content.is_other_name:
                return _Stored(stored, self._arrivals.add(None), new, is_outdated=is_outdated)
            decision = made.decision if made is not None and made.holds(self._arrivals.last) else None
            arrival = self._arrivals.add(path)
            if writer.is_sharing or decision is None:
                query = content.query or query_of(writer.fingerprint(stored, self._library.model_id))
            if writer.is_sharing:
                writer.add_pending_alert(path, query, content.digest)
            if decision is None:
                note = writer.add_pending_alert(path, query)
                pending = PendingAlert(note, path, stored, query, arrival, file.started)
                return _Stored(stored, arrival, new, pending, is_outdated=is_outdated)
            alert = self.pending.settle(writer, stored, decision)
            return _Stored(stored, arrival, new, alert=alert, is_outdated=is_outdated)

        def then(stored: _Stored | None) -> None:
            if stored is None:
                return
            self._arrivals.publish(stored.arrival, undecided=stored.pending is not None)
            self.pending.publish(stored.alert)

        committed = self._committer.submit(work, then, together=self._make_findable, may_linger=silent)
        file.turn.release()
        return committed.result()

    def _make_findable(self, stored: Sequence[_Stored | None]) -> None:
        self._library.add([(each.content, each.new) for each in stored if each is not None and each.new is not None])

    def _add_content(self, writer: Writer, content: FileContent) -> ContentId:
        assert content.query is not None, "new bytes were decoded"
        return writer.add_content(content.digest, content.query.fingerprint, held=True)

    def _count_stored(self, file: FileVersion, stored: _Stored, *, decoded: bool) -> None:
        seconds = time.perf_counter() - file.started
        self._metrics.image_stored(seconds, decoded=decoded)
        log.debug(
            "image_indexed",
            path=file.path,
            content=stored.content,
            decoded=decoded,
            duration_ms=round(seconds * 1000, 1),
        )

    def _fail(self, path: bytes, stat: Stat, before: FileRow | None, error: ShazimdError) -> Outcome:
        if isinstance(error, StoreError):
            raise error  # no fault of the file
        row = FileRow(stat, FileState.FAILED, reason=f"{error.code}: {error}", since=int(time.time()))
        if before == row:
            return Outcome.FAILED

        def work(writer: Writer) -> bool:
            is_as_before = writer.file(path) == before
            if is_as_before:
                writer.put_file(path, row)
            return is_as_before

        if not self._committer.submit(work).result():
            return Outcome.UNSETTLED
        self._metrics.image_failed(error.code)
        log.warning("image_failed", path=path, code=error.code, reason=str(error), cause=error.code)
        return Outcome.MISSING if self._disk.is_missing(path) else Outcome.FAILED  # a rename came before the row


def _is_moved_or_touched(file: FileVersion, content: FileContent) -> bool:
    """Whether a known file was likely only moved here, touched, or given another name or other metadata."""
    is_touched = file.before is not None and file.before.content in content.exact
    return content.source is not None or content.is_other_name or is_touched

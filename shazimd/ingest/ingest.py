"""Ingest of one file: compare with the store, read, digest, decode new bytes, commit, decide on an alert.

One thread ingests a file from start to end, and mostly waits for the disk or for a worker process. Ingest is
idempotent: the disk is authoritative, and the row of a path is made to agree with its file. The caller acts on the
outcome.

Known bytes take a single durable write: the search runs first, and the row and its alert share a transaction. New
bytes, and known bytes in a race with another file, take two. The first adds the row with a pending alert, the second
replaces the pending alert by the alert, if any. After a crash the pending alert is decided without another decode. Of
two similar files with simultaneous arrival, only the later raises an alert (see ``Arrivals``).

A file may be renamed or deleted at any time. If a file is missing when its pending alert is decided, its row is removed
with the pending alert: the ingest under the new path raises the alert. ``apply_move`` does the same for a rename
reported earlier. Thus no stale row stays, and no alert is lost.
"""

from __future__ import annotations

import os
import stat as stat_module
import threading
import time
from collections.abc import Sequence, Set
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from shazimd.errors import ModelError, ShazimdError, StoreError, TooLarge, Unreadable
from shazimd.ingest.alerts import AlertRecord, Alerts, log_related
from shazimd.ingest.arrivals import Arrivals
from shazimd.ingest.commit import Committer
from shazimd.ingest.moves import apply_move
from shazimd.protocol import Alert
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Writer
from shazimd.types import (
    ContentId,
    Digest,
    FileRow,
    FileState,
    Fingerprint,
    Match,
    Query,
    Stat,
    Verdict,
    Weights,
    digest_of,
)

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo

log = structlog.get_logger()

BIG_FILE_BYTES = 32 * 2**20
"""Only a single file of this size is in memory at a time."""
MATCHES_MAX = 100
"""Limit of the matches that an alert counts: each takes a stat of its file, and a higher count adds no information."""
STRIPES = 4096
"""Locks by digest, for equal bytes to be decoded once. Among 16 concurrent files two different ones share a lock, and
wait for each other without need, 3 times in 100."""
MOVE_PATIENCE_S = 2.0
"""Longest wait for a rename's event, which follows within milliseconds. Files on an unmounted disk are missing, too."""
MOVE_POLL_S = 0.02
UNREADABLE_STAT = Stat(-1, -1, -1)
"""Differs from the stat of every file: each scan tries an unreadable file again, since chmod changes no mtime."""


class Outcome(Enum):
    """The result of an ingest."""

    UNCHANGED = auto()
    """the store agrees with the disk"""
    STORED = auto()
    FAILED = auto()
    """the file cannot be read or decoded; the row has the reason"""
    OTHER_NAMES = auto()
    """stored or failed, and the file has other hard links: they changed too, but the kernel reports a single path"""
    REMOVED = auto()
    """the file was deleted, and now its row too"""
    UNSETTLED = auto()
    """the file or its row changed during the ingest, which is to be repeated later"""
    MISSING = auto()
    """a known file is missing without a deletion event: its disk may be away, and a scan must decide"""


class Decoders(Protocol):
    """Decodes pictures in other processes; a future fails with a ShazimdError."""

    def fingerprint(self, data: bytes, model: ModelInfo | None) -> Future[Fingerprint]: ...

    def query(self, data: bytes, model: ModelInfo | None) -> Future[Query]: ...


class Counts(Protocol):
    """Metrics of the ingest."""

    def image_stored(self, seconds: float, *, decoded: bool) -> None: ...

    def image_failed(self, code: str) -> None: ...

    def alert_told(self, verdict: str) -> None: ...


class RootPolicy(Protocol):
    """Settings of the root around a path."""

    def silent(self, path: bytes) -> bool:
        """Whether a new file raises no alert: the root's baseline is incomplete, or the root is a reference."""
        ...

    def follows_symlinks(self, path: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Criteria for a match to raise an alert."""

    threshold: float
    weights: Weights
    verdicts: frozenset[Verdict]

    def alert_on(self, match: Match) -> bool:
        """Without a vector a score means little, and only bytes, pixels or geometry raise an alert: of 500 photos, 4
        in 10 have an unrelated one among the rest at or over the default threshold by hashes alone."""
        confirmed = match.verdict is not Verdict.SIMILAR or match.similarities.dfv is not None
        return confirmed and match.verdict in self.verdicts


@dataclass(frozen=True, slots=True)
class IngestRules:
    """Limits and settings of the ingest."""

    roots: RootPolicy
    match: MatchSettings
    max_file_bytes: int


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """A stored file with an undecided alert."""

    number: int
    """the store's number of the pending alert"""
    path: bytes
    content: ContentId | None
    query: Query
    arrival: int
    started: float = field(default_factory=time.perf_counter)


class _File(NamedTuple):
    """A version of a file, and the row of its path before the ingest."""

    path: bytes
    stat: Stat
    before: FileRow | None
    started: float


class _Known(NamedTuple):
    """A content found in the store."""

    content: ContentId
    query: Query
    exact: frozenset[ContentId]
    """contents with the same bytes or pixels"""
    source: bytes | None
    """path of a known file with these bytes and this stat, missing there: the file was moved"""


class _Decision(NamedTuple):
    """The result of a search before the commit; valid if the file matches, or if no other file arrived since."""

    alert: AlertRecord | None
    last_arrival: int


class _Stored(NamedTuple):
    content: ContentId
    arrival: int
    note: int | None = None
    """number of the pending alert, if any"""
    alert: Alert | None = None


class Ingest:
    def __init__(
        self,
        library: Library,
        committer: Committer,
        decoders: Decoders,
        search: Search,
        alerts: Alerts,
        rules: IngestRules,
        counts: Counts,
    ) -> None:
        self._library = library
        self._committer = committer
        self._decoders = decoders
        self._search = search
        self._alerts = alerts
        self._rules = rules
        self._counts = counts
        self._same_bytes = [threading.Lock() for _ in range(STRIPES)]
        self._big = threading.Lock()
        self._arrivals = Arrivals()

    def ingest(self, path: bytes, *, deleted: bool = False) -> Outcome:
        """Make the row of ``path`` agree with its file, and raise an alert if the file is a near-duplicate.

        ``deleted``: the kernel reported a deletion or a move to elsewhere: the row of a missing file is removed."""
        started = time.perf_counter()
        with self._library.store.read() as reader:
            before = reader.file(path)
        try:
            stat = self._stat(path)
            if stat is None:
                return self._absent(path, before, deleted=deleted)
            if before is not None and stat.is_unchanged_since(before.stat):
                return Outcome.UNCHANGED
            outcome = self._ingest_version(_File(path, stat, before, started))
        except Unreadable as error:
            if before is not None and before.content is not None and _differs_in_ctime_only(path, before.stat):
                return Outcome.UNCHANGED  # a chmod: the next scan tries to read it again
            return self._fail(_File(path, UNREADABLE_STAT, before, started), error)
        is_rewritten = (
            before is not None
            and before.stat.inode == stat.inode
            and before.stat.without_ctime != stat.without_ctime  # ctime alone: a new link, another mode
        )
        if is_rewritten and outcome in (Outcome.STORED, Outcome.FAILED) and _has_other_names(path):
            return Outcome.OTHER_NAMES
        return outcome

    def pending_alerts(self) -> list[PendingAlert]:
        """The alerts left undecided by an earlier run of the daemon, in the order of their files' arrival."""
        with self._library.store.read() as reader:
            left = [(number, path, query, reader.file(path)) for number, path, query in reader.pending_alerts()]
        pending = []
        for number, path, query, row in left:
            arrival = self._arrivals.add(path)
            self._arrivals.publish(arrival, undecided=True)
            pending.append(PendingAlert(number, path, row.content if row else None, query, arrival))
        return pending

    def decide(self, pending: PendingAlert) -> None:
        """Search for matches of a stored file, and replace its pending alert by the alert, if any."""
        try:
            self._decide(pending)
        finally:  # after a fault the next start of the daemon decides; until then no search must wait for this one
            self._arrivals.decided(pending.arrival)

    def _decide(self, pending: PendingAlert) -> None:
        path, content = pending.path, pending.content
        alert = self._alert(path, pending.query, content, pending.started, arrival=pending.arrival)
        is_missing = self._is_missing(path)

        def work(writer: Writer) -> Alert | None:
            writer.remove_pending_alert(pending.number)
            row = writer.file(path)
            if row is None or row.content is None or row.content != content:
                return None
            if is_missing:
                writer.remove_file(path)
                return None
            return self._alerts.keep(writer, alert) if alert else None

        self._committer.submit(work, self._publish).result()

    def _stat(self, path: bytes) -> Stat | None:
        """None if there is no regular file."""
        try:
            found = os.stat(path, follow_symlinks=self._rules.roots.follows_symlinks(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        return Stat.of(found) if stat_module.S_ISREG(found.st_mode) else None

    def _absent(self, path: bytes, before: FileRow | None, *, deleted: bool) -> Outcome:
        if before is None:
            return Outcome.UNCHANGED
        if not deleted:
            return Outcome.MISSING
        self._committer.submit(lambda writer: writer.remove_file(path)).result()
        log.debug("image_gone", path=path)
        return Outcome.REMOVED

    def _ingest_version(self, file: _File) -> Outcome:
        limit = self._rules.max_file_bytes
        if file.stat.size > limit:
            return self._fail(file, TooLarge(f"{file.stat.size} bytes, expected at most {limit}"))
        with self._big if file.stat.size > BIG_FILE_BYTES else nullcontext():
            data = self._read(file.path, file.stat)
            if data is None:
                return Outcome.UNSETTLED
            digest = digest_of(data)
            with self._same_bytes[int.from_bytes(digest[:2]) % STRIPES]:
                return self._ingest_bytes(file, data, digest)

    def _ingest_bytes(self, file: _File, data: bytes, digest: Digest) -> Outcome:
        silent = self._rules.roots.silent(file.path)
        last_arrival = self._arrivals.visible  # before the snapshot: a later arrival may be missing in it
        try:
            known = self._known(digest, file.stat)
            query = known.query if known else self._decoded(data, silent)
        except ShazimdError as error:
            return self._fail(file, error)
        decision = None
        if known and not silent and not self._is_moved_or_touched(file, known):
            alert = self._alert(file.path, query, known.content, file.started, exact=known.exact)
            if self._is_missing(file.path):
                return self._absent(file.path, file.before, deleted=False)
            decision = _Decision(alert, last_arrival)
        stored = self._commit(file, digest, query, known.source if known else None, silent, decision)
        if stored is None:
            return Outcome.UNSETTLED
        self._count_stored(file, stored, decoded=known is None)
        if stored.note is not None:
            pending = PendingAlert(stored.note, file.path, stored.content, query, stored.arrival, file.started)
            self.decide(pending)
            return Outcome.STORED
        return Outcome.MISSING if self._is_missing(file.path) else Outcome.STORED

    def _known(self, digest: Digest, stat: Stat) -> _Known | None:
        """The rows about these bytes, from a single snapshot."""
        with self._library.store.read() as reader:
            content = reader.content(digest)
            if content is None:
                return None
            fingerprint = reader.fingerprint(content, self._library.model_id)
            same = reader.contents_with_pixels(fingerprint.pixels) if fingerprint.pixels else []
            rows = [(path, reader.file(path)) for path in reader.files_of(content)]
        alike = [path for path, row in rows if row is not None and row.stat.without_ctime == stat.without_ctime]
        source = next(filter(self._is_missing, alike), None)
        return _Known(content, _upright(fingerprint), frozenset([content, *same]), source)

    def _decoded(self, data: bytes, silent: bool) -> Query:
        if silent:
            return _upright(self._decoders.fingerprint(data, self._library.model).result())
        return self._decoders.query(data, self._library.model).result()

    def _is_moved_or_touched(self, file: _File, known: _Known) -> bool:
        """Whether a known file is likely to be only moved here, touched, or written again, without an alert."""
        return known.source is not None or (file.before is not None and file.before.content == known.content)

    def _commit(
        self,
        file: _File,
        digest: Digest,
        query: Query,
        source: bytes | None,
        silent: bool,
        decision: _Decision | None,
    ) -> _Stored | None:
        """Store a file and its content, with its alert if decided, else with a pending alert if needed.

        None, and nothing is stored, if the row of the path has changed: another file was moved there meanwhile."""
        path = file.path

        def work(writer: Writer) -> _Stored | None:
            if writer.file(path) != file.before:
                return None
            content = writer.add_content(digest, query.fingerprint)
            if source is not None:
                apply_move(writer, source, path)
            known = writer.file(path)
            writer.put_file(path, FileRow(file.stat, FileState.INDEXED, content))
            was_decided = decision is not None and (decision.alert or decision.last_arrival == self._arrivals.last)
            if silent or (known is not None and known.content == content):
                return _Stored(content, self._arrivals.add(None))
            arrival = self._arrivals.add(path)
            if not was_decided:
                return _Stored(content, arrival, note=writer.add_pending_alert(path, query))
            alert = decision.alert if decision else None
            return _Stored(content, arrival, alert=self._alerts.keep(writer, alert) if alert else None)

        def then(stored: _Stored | None) -> None:
            if stored is None:
                return
            self._library.add(stored.content, query.fingerprint)
            self._arrivals.publish(stored.arrival, undecided=stored.note is not None)
            self._publish(stored.alert)

        return self._committer.submit(work, then, may_linger=silent).result()

    def _alert(
        self,
        path: bytes,
        query: Query,
        content: ContentId | None,
        started: float,
        *,
        exact: Set[ContentId] | None = None,
        arrival: int | None = None,
    ) -> AlertRecord | None:
        """The alert for a file, None without matches. Later arrivals than ``arrival`` do not match.

        A match whose file is missing was likely renamed a moment ago: the search waits for its row to move."""
        settings = self._rules.match
        missing: list[bytes] = []

        def admit(other: bytes, stat: Stat, digest: Digest) -> bool:
            if other == path or (arrival is not None and self._arrivals.is_later(other, arrival)):
                return False
            current = self._is_current(other, stat, digest)
            if not current and self._is_missing(other):
                missing.append(other)
            return current

        deadline = time.monotonic() + MOVE_PATIENCE_S
        while True:
            missing.clear()
            matches = self._search.matches(
                query,
                content,
                weights=settings.weights,
                threshold=settings.threshold,
                limit=MATCHES_MAX,
                admit=admit,
                exact=exact,
            )
            alerting = [match for match in matches if settings.alert_on(match)]
            if alerting or not missing or not self._is_row_moved(missing, deadline):
                break
        others = [match for match in matches if not settings.alert_on(match)]
        log_related(path, others, alerts=bool(alerting))
        return AlertRecord.of(path, alerting, (time.perf_counter() - started) * 1000) if alerting else None

    def _is_row_moved(self, paths: Sequence[bytes], deadline: float) -> bool:
        """Wait until the row of one of these paths has moved or was removed; False if the time is up."""
        while time.monotonic() < deadline:
            with self._library.store.read() as reader:
                if any(reader.file(path) is None for path in paths):
                    return True
            time.sleep(MOVE_POLL_S)
        return False

    def _publish(self, alert: Alert | None) -> None:
        if alert:
            self._counts.alert_told(alert["verdict"])
            self._alerts.publish(alert)

    def _count_stored(self, file: _File, stored: _Stored, *, decoded: bool) -> None:
        seconds = time.perf_counter() - file.started
        self._counts.image_stored(seconds, decoded=decoded)
        log.debug(
            "image_indexed",
            path=file.path,
            content=stored.content,
            decoded=decoded,
            duration_ms=round(seconds * 1000, 1),
        )

    def _read(self, path: bytes, stat: Stat) -> bytes | None:
        return read_whole(path, stat, follow_symlinks=self._rules.roots.follows_symlinks(path))

    def _is_missing(self, path: bytes) -> bool:
        try:
            return self._stat(path) is None
        except Unreadable:
            return False

    def _is_current(self, path: bytes, known: Stat, digest: Digest) -> bool:
        """Whether a known file still has its content: a move or change since its last ingest is possible. If only
        its stat differs, its bytes are read."""
        try:
            stat = self._stat(path)
            if stat is None or stat.size != known.size:
                return False
            if stat.is_unchanged_since(known):
                return True
            data = self._read(path, stat)
        except Unreadable:
            return False
        return data is not None and digest_of(data) == digest

    def _fail(self, file: _File, error: ShazimdError) -> Outcome:
        if isinstance(error, StoreError | ModelError):
            raise error  # no fault of the file
        row = FileRow(file.stat, FileState.FAILED, reason=f"{error.code}: {error}")
        if file.before == row:
            return Outcome.FAILED

        def work(writer: Writer) -> bool:
            is_as_before = writer.file(file.path) == file.before
            if is_as_before:
                writer.put_file(file.path, row)
            return is_as_before

        if not self._committer.submit(work).result():
            return Outcome.UNSETTLED
        self._counts.image_failed(error.code)
        log.warning("image_failed", path=file.path, code=error.code, reason=str(error), cause=error.code)
        return Outcome.MISSING if self._is_missing(file.path) else Outcome.FAILED  # a rename came before the row


def read_whole(path: bytes, stat: Stat, *, follow_symlinks: bool) -> bytes | None:
    """All bytes of a file; None if its stat differs from ``stat`` afterwards. Raises Unreadable."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in its place must not block
    try:
        with open(os.open(path, flags if follow_symlinks else flags | os.O_NOFOLLOW), "rb") as file:
            data = file.read(stat.size + 1)
            after = Stat.of(os.fstat(file.fileno()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    return data if after.is_unchanged_since(stat) and len(data) == stat.size else None


def _differs_in_ctime_only(path: bytes, known: Stat) -> bool:
    try:
        return Stat.of(os.stat(path)).without_ctime == known.without_ctime
    except OSError:
        return False


def _has_other_names(path: bytes) -> bool:
    try:
        return os.stat(path).st_nlink > 1
    except OSError:
        return False


def _upright(fingerprint: Fingerprint) -> Query:
    return Query(fingerprint, (fingerprint.signals,), fingerprint.features)

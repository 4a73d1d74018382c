"""A file's way in: compare with the store, read, digest, decode if these bytes are new, commit, tell.

A path is handled from top to bottom by one thread, which mostly waits for the disk or for a worker process. Handling
is idempotent: the disk is the truth, and what a path holds now is what the store is made to say.

A new file that may raise an alert is committed together with a note that it is still untold, and its alert together
with the removal of that note: after a crash it is told from the note, once, without a second decode. Two pictures that
land at the same moment see each other both; only the later one tells.

A file may be renamed or deleted at any time. If it is gone when it is to be told, its row goes with its note: where it
turns up it lands anew. (``moves`` does the same from the other side.) So no row is left behind, and no alert is lost.
"""

from __future__ import annotations

import hashlib
import os
import stat as stat_module
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from shazimd.errors import ModelError, ShazimdError, StoreError, TooLarge, Unreadable
from shazimd.ingest.alerts import Alerts, record
from shazimd.ingest.commit import Committer
from shazimd.ingest.moves import apply_move
from shazimd.protocol import Alert
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Reader, Writer
from shazimd.types import ContentId, Digest, FileRow, FileState, Fingerprint, Query, Stat, Verdict, Weights

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo

log = structlog.get_logger()

BIG_FILE_BYTES = 32 * 2**20
"""Files over this are held in memory one at a time."""
MATCHES_MAX = 100
"""An alert counts so many matches at most: each is looked at on the disk, and the thousandth copy tells nothing new."""
UNREADABLE_STAT = Stat(-1, -1, -1)
"""Equals no file's: what could not be read is tried again at each look, for a chmod changes no mtime."""


class Decoders(Protocol):
    """Turns bytes into fingerprints, elsewhere; failures are errors of ours in the future."""

    def fingerprint(self, data: bytes, model: ModelInfo | None) -> Future[Fingerprint]: ...

    def query(self, data: bytes, model: ModelInfo | None) -> Future[Query]: ...


class Counts(Protocol):
    """Where what happens is counted."""

    def image_stored(self, seconds: float, *, decoded: bool) -> None: ...

    def image_failed(self, code: str) -> None: ...

    def alert_told(self, verdict: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RootPolicy:
    """What the roots say of a path."""

    silent: Callable[[bytes], bool]
    """raises no alert: its root's baseline is not complete, or is a reference"""
    follows_symlinks: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """What is told of."""

    threshold: float
    weights: Weights
    verdicts: frozenset[Verdict]


class Ingest:
    def __init__(
        self,
        library: Library,
        committer: Committer,
        decoders: Decoders,
        search: Search,
        alerts: Alerts,
        policy: RootPolicy,
        terms: MatchSettings,
        counts: Counts,
        *,
        max_file_bytes: int,
        unsettled: Callable[[bytes], None],
        missing: Callable[[bytes], None],
        linked: Callable[[], None],
    ) -> None:
        """``unsettled`` is given a path that changed while it was read; ``missing`` a known one where no file is, and
        of which nobody said that it was deleted: it may only be out of reach. ``linked`` is called when a file with
        several names was changed under one of them: the kernel says nothing of the others."""
        self._library = library
        self._committer = committer
        self._decoders = decoders
        self._search = search
        self._alerts = alerts
        self._policy = policy
        self.terms = terms
        self._counts = counts
        self._max_file_bytes = max_file_bytes
        self._unsettled = unsettled
        self._missing = missing
        self._linked = linked
        self._same_bytes = _KeyedLock()
        self._big = threading.Lock()
        self._untold: dict[bytes, int] = {}
        """paths whose alerts are still to be decided, with the order in which they came"""

    def look(self, path: bytes, *, deleted: bool = False) -> None:
        """Make the store say what ``path`` holds now, and tell if it is a near-duplicate of a known picture.

        ``deleted``: the kernel said that the file was deleted or moved away, so if none is there it is forgotten."""
        started = time.perf_counter()
        before = self._row(path)
        try:
            stat = self._stat(path)
            if stat is None:
                self._miss(path, deleted)
            elif before.stat != stat:
                self._take_in(path, stat, before, started)
                if before.stat.inode == stat.inode and self._has_other_names(path):
                    self._linked()
        except Unreadable as error:
            self._fail(path, UNREADABLE_STAT, before, error)

    def tell_untold(self) -> Iterator[tuple[Hashable, Callable[[], None]]]:
        """What a crash kept from being told, as (key, work). The path is not the key: it is to be looked at, too."""
        with self._library.store.read() as reader:
            untold = list(reader.pending_alerts())
        self._untold.update({path: number for number, path, _ in untold})
        for number, path, query in untold:
            yield ("untold", number), lambda n=number, p=path, q=query: self._tell(n, p, q, time.perf_counter())  # type: ignore[misc]

    def _row(self, path: bytes) -> FileRow:
        with self._library.store.read() as reader:
            return _row_in(reader, path)

    def _stat(self, path: bytes) -> Stat | None:
        """None when there is no regular file."""
        try:
            found = os.stat(path, follow_symlinks=self._policy.follows_symlinks(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        return as_stat(found) if stat_module.S_ISREG(found.st_mode) else None

    def _take_in(self, path: bytes, stat: Stat, before: FileRow, started: float) -> None:
        if stat.size > self._max_file_bytes:
            too_large = TooLarge(f"{stat.size} bytes, expected at most {self._max_file_bytes}")
            return self._fail(path, stat, before, too_large)
        with self._big if stat.size > BIG_FILE_BYTES else nullcontext():
            data = read_whole(path, stat, follow_symlinks=self._policy.follows_symlinks(path))
            if data is None:
                return self._unsettled(path)
            digest = digest_of(data)
            with self._same_bytes.of(digest):
                self._index(path, stat, data, digest, before, started)
        return None

    def _index(self, path: bytes, stat: Stat, data: bytes, digest: Digest, before: FileRow, started: float) -> None:
        silent = self._policy.silent(path)
        try:
            query, decoded = self._query(data, digest, silent)
        except ShazimdError as error:
            return self._fail(path, stat, before, error)
        committed = self._commit(path, stat, digest, query, before, silent)
        if committed is None:
            return self._unsettled(path)
        content, number = committed
        seconds = time.perf_counter() - started
        self._counts.image_stored(seconds, decoded=decoded)
        log.debug("image_indexed", path=path, content=content, decoded=decoded, duration_ms=round(seconds * 1000, 1))
        if number is not None:
            self._tell(number, path, query, started)
        elif self._is_gone(path):
            self._missing(path)
        return None

    def _query(self, data: bytes, digest: Digest, silent: bool) -> tuple[Query, bool]:
        """The picture as it is asked about, and whether that took a decode."""
        with self._library.store.read() as reader:
            content = reader.content(digest)
            if content is not None:
                return _upright(reader.fingerprint(content, self._library.model_id)), False
        if silent:
            return _upright(self._decoders.fingerprint(data, self._library.model).result()), True
        return self._decoders.query(data, self._library.model).result(), True

    def _commit(
        self, path: bytes, stat: Stat, digest: Digest, query: Query, before: FileRow, silent: bool
    ) -> tuple[ContentId, int | None] | None:
        """Store a file and its content; the content's id, and the number under which it is to be told. One that was
        moved here, touched, or written again with the same bytes is not.

        None, and nothing is stored, where the store no longer says what it said ``before``: another file was moved
        here meanwhile, and this one is known no more."""
        source = self._source(digest, stat)

        def work(writer: Writer) -> tuple[ContentId, int | None] | None:
            if _row_in(writer, path) != before:
                return None
            content = writer.add_content(digest, query.fingerprint)
            if source is not None:
                apply_move(writer, source, path)
            known = writer.file(path)
            writer.put_file(path, FileRow(stat, FileState.INDEXED, content))
            is_told = silent or (known is not None and known.content == content)
            return content, None if is_told else writer.add_pending_alert(path, query)

        def then(result: tuple[ContentId, int | None] | None) -> None:
            if result is None:
                return
            content, number = result
            self._library.add(content, query.fingerprint)
            if number is not None:
                self._untold[path] = number

        return self._committer.submit(work, then, patient=silent).result()  # type: ignore[no-any-return]

    def _source(self, digest: Digest, stat: Stat) -> bytes | None:
        """Where a file with these bytes and this stat is known and gone from: it was moved, though nobody told."""
        with self._library.store.read() as reader:
            content = reader.content(digest)
            known = reader.files_of(content) if content is not None else []
            alike = [path for path in known if (row := reader.file(path)) is not None and row.stat == stat]
        return next(filter(self._is_gone, alike), None)

    def _tell(self, number: int, path: bytes, query: Query, started: float) -> None:
        content = self._row(path).content
        matches = self._search.matches(
            query,
            content,
            weights=self.terms.weights,
            threshold=self.terms.threshold,
            limit=MATCHES_MAX,
            admit=lambda other: other != path and self._untold.get(other, 0) < number and self._is_current(other),
        )
        matches = [match for match in matches if match.verdict in self.terms.verdicts]
        alert = record(path, matches, (time.perf_counter() - started) * 1000) if matches else None
        is_gone = self._is_gone(path)

        def work(writer: Writer) -> Alert | None:
            writer.remove_pending_alert(number)
            row = writer.file(path)
            if row is None or row.content is None or row.content != content:
                return None
            if is_gone:
                writer.remove_file(path)
                return None
            return self._alerts.keep(writer, alert) if alert else None

        def then(kept: Alert | None) -> None:
            if self._untold.get(path) == number:
                del self._untold[path]
            if kept:
                self._counts.alert_told(kept["verdict"])
                self._alerts.tell(kept)

        self._committer.submit(work, then).result()

    def _has_other_names(self, path: bytes) -> bool:
        try:
            return os.stat(path).st_nlink > 1
        except OSError:
            return False

    def _is_gone(self, path: bytes) -> bool:
        try:
            return self._stat(path) is None
        except Unreadable:
            return False

    def _is_current(self, path: bytes) -> bool:
        """Whether a known file still holds the content that the store says: it may have been moved away, or replaced,
        and not have been looked at since. Where its stat leaves a doubt, its bytes decide."""
        with self._library.store.read() as reader:
            row = reader.file(path)
            digest = reader.digest(row.content) if row is not None and row.content is not None else None
        try:
            stat = self._stat(path)
            if row is None or digest is None or stat is None or stat.size != row.stat.size:
                return False
            if stat == row.stat:
                return True
            data = read_whole(path, stat, follow_symlinks=self._policy.follows_symlinks(path))
        except Unreadable:
            return False
        return data is not None and digest_of(data) == digest

    def _miss(self, path: bytes, deleted: bool) -> None:
        if self._row(path) is _UNKNOWN:
            return
        if deleted:
            self._committer.submit(lambda writer: writer.remove_file(path)).result()
            log.debug("image_gone", path=path)
        else:
            self._missing(path)

    def _fail(self, path: bytes, stat: Stat, before: FileRow, error: ShazimdError) -> None:
        if isinstance(error, StoreError | ModelError):
            raise error  # no fault of the file
        row = FileRow(stat, FileState.FAILED, reason=f"{error.code}: {error}")
        if before == row:
            return None

        def work(writer: Writer) -> bool:
            stands = _row_in(writer, path) == before
            if stands:
                writer.put_file(path, row)
            return stands

        if not self._committer.submit(work).result():
            return self._unsettled(path)
        self._counts.image_failed(error.code)
        log.warning("image_failed", path=path, code=error.code, reason=str(error), cause=error.code)
        return None


def digest_of(data: bytes) -> Digest:
    """What names these bytes: BLAKE2b (RFC 7693), 32 bytes."""
    return hashlib.blake2b(data, digest_size=32).digest()


def read_whole(path: bytes, stat: Stat, *, follow_symlinks: bool) -> bytes | None:
    """All bytes of a file; None when it is no longer what ``stat`` says. Raises Unreadable."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO put in its place must not hold us
    try:
        with open(os.open(path, flags if follow_symlinks else flags | os.O_NOFOLLOW), "rb") as file:
            data = file.read(stat.size + 1)
            after = as_stat(os.fstat(file.fileno()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    return data if after == stat and len(data) == stat.size else None


class _KeyedLock:
    """A lock for each key in use: the same bytes landing twice at once are decoded once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[bytes, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, key: bytes) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)


_UNKNOWN = FileRow(UNREADABLE_STAT, FileState.FAILED)


def _row_in(reader: Reader, path: bytes) -> FileRow:
    return reader.file(path) or _UNKNOWN


def as_stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino)


def _upright(fingerprint: Fingerprint) -> Query:
    return Query(fingerprint, (fingerprint.signals,), fingerprint.features)

"""The store on LMDB: transactions, growth and maintenance. Rows: ``reader`` and ``writer``; their bytes: FORMAT.md.

Every transaction holds a gate shared. A thread alone in the gate may close the environment and open it anew: to enlarge
a full map, after compacting, or when LMDB gave the environment up.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TypeVar

import lmdb
import structlog

from shazimd.errors import StoreDamaged, StoreError
from shazimd.posix.memory import MappedFile
from shazimd.protocol.status import StoreInfo
from shazimd.store import environment
from shazimd.store.bulk import BulkWriter
from shazimd.store.check import problems
from shazimd.store.environment import DirectoryLock
from shazimd.store.file_changes import FileChanges
from shazimd.store.group_changes import GroupChanges
from shazimd.store.reader import Reader, Sight
from shazimd.store.schema import open_tables
from shazimd.store.tables import SCHEMA, Tables, foreign_errors, lmdb_errors
from shazimd.types import ContentId

log = structlog.get_logger()

T = TypeVar("T")

GROWTH_BYTES_MIN = 1 << 30
"""Address space costs nothing, and each growth waits for all readers."""
FULL_SHARE = 0.9
"""The map grows before a write when more than this is used: cheaper than to run the write twice."""
TRANSACTIONS_BETWEEN_TRIMS = 32
PATIENCE_S = 60.0
"""Longest wait for readers to leave, a thousand times the time of a normal read."""
VECTORS_A_BATCH = 4096
"""Vectors dropped in one transaction, some 10 MB; other writes get their turn in between."""


def open_store(
    path: str,
    map_size_bytes: int,
    features_version: int | None = None,
    clock: Callable[[], float] = time.time,
    ticks: Callable[[], float] = time.monotonic,
) -> Store:
    """Open the store in a directory, made if missing, for this process alone.

    ``map_size_bytes`` is the address space at first and grows as needed. Local features of another version than
    ``features_version`` read as missing (None: all are read). ``clock`` is Unix time; ``ticks`` counts seconds and is
    set by nobody. A file that is not as it was closed is looked through for damage first.

    Raises StoreError when another process has the store or the disk is remote, StoreDamaged for a data file that is
    damaged or of an unknown schema, and leaves the file as before, StoreFull when the disk is full or read-only."""
    with foreign_errors(path):
        environment.prepare_directory(path)
        lock = DirectoryLock(path)
        try:
            was_changed = not environment.create_if_missing(path) and not environment.was_closed(path)
            if was_changed:
                log.info("store_looked_through", path=path, reason="it was not closed, or was changed since")
                environment.expect_whole(path)
            environment.note_open(path)
            store = Store(path, map_size_bytes, lock, Sight(features_version, clock), ticks)
            store.was_changed = was_changed
            return store  # noqa: TRY300  # the lock is released for a fault of any step
        except BaseException:
            lock.close()
            raise


def open_data(directory: str, map_size_bytes: int) -> tuple[lmdb.Environment, Tables]:
    """The environment of a data file and its tables, after any migration, for which the map grows as needed."""
    while True:
        env = environment.open_environment(directory, map_size_bytes)
        try:
            return env, open_tables(env, directory)
        except lmdb.MapFullError:
            map_size_bytes = _grown(env.info()["map_size"])
            env.close()
            log.info("store_migration_grows_map", path=directory, map_size_bytes=map_size_bytes)
        except BaseException:
            env.close()
            raise


def _grown(size: int) -> int:
    return size + max(size, GROWTH_BYTES_MIN)


class Store:
    """Files (a path, its stat and its content), contents (a digest and its fingerprint) and alerts on the disk.

    One process has a store open; any of its threads may read, one at a time writes. Paths are absolute, normalised
    bytes. Content ids and alert ids grow and are never used again. Made by ``open_store``."""

    def __init__(
        self, path: str, map_size_bytes: int, lock: DirectoryLock, sight: Sight, ticks: Callable[[], float]
    ) -> None:
        self._path = path
        self._lock = lock
        self._sight = sight
        self._gate = Gate()
        self._writing = threading.Lock()
        self._is_open = True
        self._transactions = count()
        self.group_changes = GroupChanges()
        self.file_changes = FileChanges()
        self.was_changed = False
        """whether it was not closed by the last process, or was changed since: its rows may be of another program"""
        self._open(map_size_bytes)
        with self.read() as reader:
            self._seen_before, start = reader.seen_s(), ticks()
        self._sight = sight._replace(seen_s=lambda: self._seen_before + int(ticks() - start))

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A consistent snapshot. Keep reads short: an open snapshot holds back freed pages.

        In one thread reads may be nested; ``write`` inside is refused."""
        with lmdb_errors(self._path), self._gate.shared():
            self._expect_open()
            with self._env.begin() as txn:
                yield Reader(txn, self._tables, self._trim, self._sight)
            self._trim_sometimes()

    def pass_over_damage(self, note: Callable[[ContentId], object]) -> None:
        """Let vectors, local features, relations and facts with a wrong checksum read as missing from now on, instead
        of raising StoreDamaged: all of these can be made anew. ``note`` is called with their contents, within reads and
        writes, any number of times."""
        self._sight = self._sight._replace(note_damage=note)

    def release_pages(self) -> None:
        """Give the resident pages of the data file back to the kernel; the next read takes them from its cache."""
        with foreign_errors(self._path), self._gate.shared():
            self._expect_open()
            self._mapped.release()

    def write(self, work: Callable[[BulkWriter], T]) -> T:
        """Run ``work`` in one write transaction and return its result once durable (on the disk).

        An exception leaves the store as before. ``work`` runs again from the start when the store had to grow, and
        must change nothing but the store. Raises StoreFull when the disk is full or read-only: nothing was kept, reads
        go on, and a later call may succeed. Raises RuntimeError inside a ``read`` or ``write`` of the
        same thread: the map could not grow."""
        self._expect_outside()
        with lmdb_errors(self._path), self._writing:
            self._expect_open()
            if self._used_bytes() > FULL_SHARE * self._map_size_bytes():
                self._grow()
            while True:
                try:
                    return self._attempt(work)
                except lmdb.MapFullError:
                    self._grow()

    def info(self) -> StoreInfo:
        """The store's path, schema and sizes."""
        with foreign_errors(self._path), self._gate.shared():
            self._expect_open()
            return {
                "path": self._path,
                "schema": SCHEMA,
                "size_bytes": os.stat(environment.data_path(self._path)).st_blocks * 512,
                "map_size_bytes": self._map_size_bytes(),
            }

    def check(self) -> list[str]:
        """Compare all tables with each other: each problem in a sentence. Reads everything, beside reads and writes."""
        with foreign_errors(self._path), self._gate.shared():
            self._expect_open()
            with self._env.begin() as txn:
                return list(problems(txn, self._tables, self._trim))

    def compact(self, model: str | None = None) -> None:
        """Drop the vectors of all models but ``model`` (None: of none), then write the data file anew without the
        bytes of removed rows. Needs room for a copy; reads go on meanwhile, writes wait."""
        self._expect_outside()
        if model is not None:
            while self.write(lambda writer: writer.drop_vectors_except(model, VECTORS_A_BATCH)):
                pass
        with (
            foreign_errors(self._path),
            self._writing,
            ExitStack() as alone,
            environment.replacing_data(self._path) as aside,
        ):
            with self._gate.shared():
                self._expect_open()
                environment.copy(self._env, aside)
            alone.enter_context(self._gate.alone(PATIENCE_S))
            alone.callback(self._reopen, self._map_size_bytes())  # also where the new file's name can't be synced

    def close(self) -> None:
        """Close, after readers and the writer have finished; closing twice is fine."""
        self._expect_outside()
        self._keep_seen()
        with self._writing, self._gate.alone(PATIENCE_S):
            if self._is_open:
                self._is_open = False
                self._env.close()
                self._note_closed()
                self._lock.close()

    def _keep_seen(self) -> None:
        if not self._is_open or self._sight.seen_s is None or self._sight.seen_s() == self._seen_before:
            return
        try:
            self.write(lambda writer: writer.keep_seen())
        except StoreError as error:  # such as a full disk: the time since the last hour does not count
            log.warning("store_clock_not_kept", path=self._path, reason=str(error))

    def _note_closed(self) -> None:
        try:
            environment.note_closed(self._path)
        except OSError as error:  # such as a full disk: the next start looks for damage, and finds none
            log.warning("store_not_marked_as_closed", path=self._path, reason=error.strerror)

    def _attempt(self, work: Callable[[BulkWriter], T]) -> T:
        try:
            with self._gate.shared():
                self._trim_sometimes()  # not after the commit: a durable write must not end in an error
                self._env.reader_check()  # a backup that was killed would hold back freed pages; 1 us
                with self._env.begin(write=True) as txn:
                    writer = BulkWriter(txn, self._tables, self._trim, self._sight)
                    result = work(writer)
                if writer.moves_directories or writer.regrouped:
                    self.group_changes.add(None if writer.moves_directories else writer.regrouped)
                if writer.changes_files:
                    self.file_changes.add()
                return result
        except lmdb.Error:
            self._revive()
            raise

    def _revive(self) -> None:
        """After a failed write of a meta page LMDB refuses everything until the environment is opened anew."""
        try:
            self._env.begin().abort()
        except lmdb.PanicError:
            with foreign_errors(self._path), self._gate.alone(PATIENCE_S):
                self._reopen(self._map_size_bytes())

    def _grow(self) -> None:
        with foreign_errors(self._path), self._gate.alone(PATIENCE_S):
            self._reopen(_grown(self._map_size_bytes()))

    def _open(self, map_size_bytes: int) -> None:
        self._env, self._tables = open_data(self._path, map_size_bytes)
        self._mapped = MappedFile(environment.data_path(self._path))

    def _reopen(self, map_size_bytes: int) -> None:
        """The caller is alone in the gate. If that fails, as with a new size that is too large, try the old size."""
        before = self._map_size_bytes()
        self._env.close()
        try:
            self._open(map_size_bytes)
        except (lmdb.Error, StoreDamaged):
            self._open(before)
            raise

    def _trim_sometimes(self) -> None:
        """A short transaction reads few pages, and to ask how many are resident costs more than the transaction."""
        if next(self._transactions) % TRANSACTIONS_BETWEEN_TRIMS == 0:
            self._trim()

    def _trim(self) -> None:
        with foreign_errors(self._path):
            self._mapped.trim()

    def _map_size_bytes(self) -> int:
        return self._env.info()["map_size"]

    def _used_bytes(self) -> int:
        return (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]

    def _expect_open(self) -> None:
        if not self._is_open:
            raise StoreError(f"store {self._path}: is closed, expected an open one")

    def _expect_outside(self) -> None:
        if self._gate.holds():
            raise RuntimeError("called inside a read or write of the same thread, expected outside of both")


class Gate:
    """A lock that many threads share, or one holds alone.

    LMDB's map may only be replaced while the process has no open transaction. A thread waiting to be alone goes before
    newcomers, to avoid starvation, but not before a thread already inside: nested reads must not deadlock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._claims = 0
        """threads that are alone inside or wait to be"""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside with others. May be left in another thread than it was entered in."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._claims or me in self._inside)
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                if self._claims:
                    self._changed.notify_all()

    def holds(self) -> bool:
        """True if this thread is inside."""
        with self._changed:
            return threading.get_ident() in self._inside

    @contextmanager
    def alone(self, timeout_s: float) -> Iterator[None]:
        """Be inside alone. Raises StoreError when the others don't leave in time, rather than hang."""
        with self._changed:
            self._claims += 1
            try:
                if not self._changed.wait_for(lambda: not self._inside, timeout_s):
                    raise StoreError(f"a read of the store was still open after {timeout_s:.0f} s, expected short ones")
                yield
            finally:
                self._claims -= 1
                self._changed.notify_all()

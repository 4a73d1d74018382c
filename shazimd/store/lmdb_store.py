"""The store on LMDB: who may do what when. What the rows are: ``reader``, ``writer``; how they lie: FORMAT.md.

Every transaction stands inside a gate; the environment is closed and opened anew only by someone who is alone there.
That one act serves a map that is full, a data file that was compacted, and an environment that LMDB gave up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import lmdb

from shazimd.errors import StoreError
from shazimd.store import environment
from shazimd.store.base import Reader, Store, Writer
from shazimd.store.check import problems
from shazimd.store.door import foreign_errors, lmdb_errors
from shazimd.store.gate import Gate
from shazimd.store.lock import DirectoryLock
from shazimd.store.reader import LmdbReader
from shazimd.store.resident import MappedFile
from shazimd.store.schema import SCHEMA, generations_before, open_tables, set_generations_before
from shazimd.store.writer import LmdbWriter

T = TypeVar("T")

GROWTH_BYTES_MIN = 1 << 30
"""Address space costs nothing; to grow seldom does good."""
FULL_SHARE = 0.9
"""The map grows before a write when more than this is used: cheaper than to run the write twice."""
TRANSACTIONS_BETWEEN_TRIMS = 32
PATIENCE_S = 60.0
"""How long to wait for readers to leave; a thousand times what a read should take."""


def open_store(path: str, map_size_bytes: int) -> LmdbStore:
    """Open the store in a directory, made if missing, for this process alone.

    ``map_size_bytes`` is address space to begin with; it grows by itself. Raises StoreError when another process has
    the store or the disk is a remote one, StoreDamaged for what is no intact store of a known schema (and leaves it as
    it is), StoreFull when the disk is full or read-only."""
    with foreign_errors(path):
        environment.prepare_directory(path)
        lock = DirectoryLock(path)
        try:
            environment.create_if_missing(path)
            return LmdbStore(path, map_size_bytes, lock)
        except BaseException:
            lock.release()
            raise


class LmdbStore(Store):
    """Made by ``open_store``."""

    def __init__(self, path: str, map_size_bytes: int, lock: DirectoryLock) -> None:
        self._path = path
        self._lock = lock
        self._gate = Gate()
        self._writing = threading.Lock()
        self._is_open = True
        self._transactions = count()
        self._open(map_size_bytes)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """In one thread reads may be nested; ``write`` inside is refused."""
        with lmdb_errors(self._path), self._gate.shared():
            self._expect_open()
            with self._env.begin() as txn:
                yield LmdbReader(txn, self._tables, self._trim)
            self._trim_sometimes()

    def write(self, work: Callable[[Writer], T]) -> T:
        """Raises RuntimeError inside a ``read`` or ``write`` of the same thread: the map could not grow."""
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

    def info(self) -> dict[str, Any]:
        with foreign_errors(self._path), self._gate.shared():
            self._expect_open()
            with self._env.begin() as txn:
                generation = generations_before(txn, self._tables) + txn.id()
            return {
                "path": self._path,
                "schema": SCHEMA,
                "size_bytes": os.stat(environment.data_path(self._path)).st_blocks * 512,
                "map_size_bytes": self._map_size_bytes(),
                "generation": generation,
            }

    def check(self) -> list[str]:
        with foreign_errors(self._path), self._gate.shared():
            self._expect_open()
            with self._env.begin() as txn:
                return list(problems(txn, self._tables, self._trim))

    def backup(self, path: str) -> None:
        with foreign_errors(path), self._gate.shared():
            self._expect_open()
            with environment.new_directory(path) as aside:
                environment.copy(self._env, aside)
            self._trim()

    def compact(self) -> None:
        self._expect_outside()
        with foreign_errors(self._path), self._writing, self._gate.alone(PATIENCE_S):
            self._expect_open()
            self._carry_generation_over()
            with environment.replacing_data(self._path) as aside:
                environment.copy(self._env, aside)
            self._reopen(self._map_size_bytes())

    def close(self) -> None:
        self._expect_outside()
        with self._writing, self._gate.alone(PATIENCE_S):
            if self._is_open:
                self._is_open = False
                self._env.close()
                self._lock.release()

    def _attempt(self, work: Callable[[Writer], T]) -> T:
        try:
            with self._gate.shared():
                self._trim_sometimes()  # not after the commit: what is durable must not end in an error
                with self._env.begin(write=True) as txn:
                    return work(LmdbWriter(txn, self._tables, self._trim))
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
            size = self._map_size_bytes()
            self._reopen(size + max(size, GROWTH_BYTES_MIN))

    def _carry_generation_over(self) -> None:
        """A compact copy counts its transactions from 1 again, and the generation must not go back."""
        with self._env.begin(write=True) as txn:
            set_generations_before(txn, self._tables, generations_before(txn, self._tables) + txn.id())

    def _open(self, map_size_bytes: int) -> None:
        self._env = environment.open_environment(self._path, map_size_bytes)
        try:
            self._tables = open_tables(self._env, self._path)
        except BaseException:
            self._env.close()
            raise
        self._mapped = MappedFile(environment.data_path(self._path))

    def _reopen(self, map_size_bytes: int) -> None:
        """The caller is alone inside the gate. What worked before is tried again if the new size is too much."""
        before = self._map_size_bytes()
        self._env.close()
        try:
            self._open(map_size_bytes)
        except lmdb.Error:
            self._open(before)
            raise

    def _trim_sometimes(self) -> None:
        """A short transaction touches little, and to ask for the resident pages costs more than all it does."""
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

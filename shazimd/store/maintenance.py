"""Commands of an administrator on a store, beside the daemon that has it open or while none runs.

LMDB lets another process read a consistent snapshot while the daemon writes. Root acts as the store's owner here, to
make no file that the daemon could not open.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager

import lmdb

from shazimd.errors import NotFound, StoreError
from shazimd.store import environment
from shazimd.store.check import problems
from shazimd.store.environment import foreign_errors
from shazimd.store.lmdb_store import open_data, open_store
from shazimd.store.lock import DirectoryLock
from shazimd.store.schema import SCHEMA, version
from shazimd.store.tables import TABLES_MAX, Tables

INDEX = "index"
"""Made again from the store; after a restore it would belong to another store."""


def check(path: str) -> list[str]:
    """Compare all tables with each other: each problem in a sentence. Raises StoreError, also before the migration of
    an older schema."""
    with _beside(path) as env, env.begin() as txn:
        if (found := version(env, path)) != SCHEMA:
            raise StoreError(f"store {path}: schema is {found}, expected {SCHEMA}: start shazimd to migrate it")
        tables = Tables(*(env.open_db(name.encode(), txn=txn, create=False) for name in Tables._fields))
        return list(problems(txn, tables, lambda: None))


def backup(path: str, target: str) -> None:
    """Write a consistent, compact copy into a new directory, which is a store then.

    Raises StoreError when the target exists, StoreFull when its disk is full."""
    with foreign_errors(target):
        os.mkdir(target, mode=0o700)
        with environment.replacing_data(target) as aside:
            fd = os.open(environment.data_path(aside), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file, _beside(path) as env:
                env.copyfd(file.fileno(), compact=True)
                os.fsync(file.fileno())


def restore(path: str, source: str) -> None:
    """Replace the store by the copy in ``source``. The daemon must be stopped.

    Raises StoreError when a daemon has the store, StoreDamaged when the copy is no whole store; then nothing has
    changed."""
    data = environment.data_path(source)
    with foreign_errors(source), open(data, "rb") as copy, _as_owner(path), foreign_errors(path):
        environment.prepare_directory(path)
        lock = DirectoryLock(path)
        try:
            with environment.replacing_data(path) as aside:
                _copy_in(copy.fileno(), aside)
            shutil.rmtree(os.path.join(path, INDEX), ignore_errors=True)
        finally:
            lock.release()


def compact(path: str, map_size_bytes: int, model: str | None) -> None:
    """Drop vectors of models other than ``model`` (None: of none) and rewrite the data file without removed rows. The
    index is removed, to be made again from the store. The daemon must be stopped. Raises StoreError."""
    _expect_store(path)
    with _as_owner(path), closing(open_store(path, map_size_bytes)) as store:
        store.compact(model)
        shutil.rmtree(os.path.join(path, INDEX), ignore_errors=True)  # its files may hold removed rows


def _copy_in(source: int, directory: str) -> None:
    with open(environment.data_path(directory), "xb") as file:
        while data := os.read(source, 1 << 20):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    env, _ = open_data(directory, os.path.getsize(environment.data_path(directory)) + (1 << 30))
    env.close()


@contextmanager
def _beside(path: str) -> Iterator[lmdb.Environment]:
    """The store's environment for reading, beside a daemon or not."""
    _expect_store(path)
    with _as_owner(path), foreign_errors(path):
        size = os.path.getsize(environment.data_path(path))
        env = lmdb.open(path, readonly=True, create=False, max_dbs=TABLES_MAX, map_size=2 * size + (1 << 30))
        try:
            yield env
        finally:
            env.close()


def _expect_store(path: str) -> None:
    if not os.path.exists(environment.data_path(path)):
        raise NotFound(f"{path}: no store is there")


@contextmanager
def _as_owner(path: str) -> Iterator[None]:
    """Root becomes the owner of the directory, if it is there, until the end of the block."""
    if os.geteuid() != 0 or not os.path.isdir(path):
        yield
        return
    owner, group = os.stat(path).st_uid, os.getegid()
    os.setegid(os.stat(path).st_gid)
    os.seteuid(owner)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)

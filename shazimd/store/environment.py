"""Making, checking and opening the LMDB file in a store's directory.

A data file comes into being aside and is renamed into place, so what lies under its name was whole once: an
empty or a short file there is damage, never a beginning, and is left for a person to look at.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import lmdb
import lmdb.verify

from shazimd.errors import StoreDamaged, StoreError
from shazimd.posix import files, mounts
from shazimd.store.schema import TABLES_MAX, create_tables

DATA = "data.mdb"
READERS_MAX = 1024
"""Slots of 64 bytes each; LMDB's default of 126 is fewer than a server may have threads."""


def data_path(directory: str) -> str:
    return os.path.join(directory, DATA)


def prepare_directory(path: str) -> None:
    """Make the directory, for its owner alone, if it is missing. Raises StoreError, OSError."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise StoreError(f"store {path}: is a file, expected a directory")
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o700)
        files.sync(os.path.dirname(os.path.abspath(path)))
    if kind := remote_filesystem(path):
        raise StoreError(f"store {path}: lies on {kind}, expected a local disk: LMDB can't keep its promises there")


def remote_filesystem(path: str, mountinfo: str = mounts.TABLE) -> str | None:
    """The type of a path's file system if it is a network or FUSE file system, else None.

    LMDB's documentation: "Do not use LMDB databases on remote filesystems, even between processes on the same host."
    """
    mount = mounts.of_device(os.stat(path).st_dev, mountinfo)
    return mount.fstype.decode() if mount and mount.is_network else None


def create_if_missing(directory: str) -> None:
    """Make an empty store unless a data file, or whatever else, has its name already."""
    if os.path.lexists(data_path(directory)):
        return
    with replacing_data(directory) as aside:
        env = _open(aside, map_size_bytes=16 << 20)
        try:
            create_tables(env)
        finally:
            env.close()


@contextmanager
def replacing_data(directory: str) -> Iterator[str]:
    """A new, empty directory; the data file made in it becomes the store's, at once and durably, when that succeeds."""
    with _removed_at_the_end(os.path.join(directory, "unfinished")) as aside:
        yield aside
        os.rename(data_path(aside), data_path(directory))
        files.sync(directory)


@contextmanager
def new_directory(path: str) -> Iterator[str]:
    """A new, empty directory that gets this name, durably, when what is done in it succeeds. Raises StoreError when
    the name is taken."""
    if os.path.lexists(path):
        raise StoreError(f"store {path}: exists, expected the name of a new directory")
    with _removed_at_the_end(path + ".unfinished") as aside:
        yield aside
        os.rename(aside, path)
        files.sync(os.path.dirname(os.path.abspath(path)))


@contextmanager
def _removed_at_the_end(aside: str) -> Iterator[str]:
    shutil.rmtree(aside, ignore_errors=True)
    os.mkdir(aside, mode=0o700)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def open_environment(directory: str, map_size_bytes: int) -> lmdb.Environment:
    """Open the data file after checking that it is one, and whole. Raises StoreDamaged, lmdb.Error, OSError."""
    _check_file(data_path(directory))
    env = _open(directory, map_size_bytes)
    try:
        _check_length(directory, env)
        env.reader_check()  # slots of a process that was killed would hold back freed pages
    except BaseException:
        env.close()
        raise
    return env


def copy(env: lmdb.Environment, directory: str) -> None:
    """Write a compact, consistent and durable copy of the data file into a directory, beside running readers."""
    fd = os.open(data_path(directory), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        env.copyfd(fd, compact=True)
        os.fsync(fd)
    finally:
        os.close(fd)
    files.sync(directory)


def _open(directory: str, map_size_bytes: int) -> lmdb.Environment:
    return lmdb.open(
        directory,
        map_size=map_size_bytes,
        mode=0o600,
        max_dbs=TABLES_MAX,
        max_readers=READERS_MAX,
        readahead=False,  # rows are read here and there; whole passes are rare
    )


def _check_file(data: str) -> None:
    found = os.lstat(data)
    if not stat.S_ISREG(found.st_mode):
        raise StoreDamaged(f"store {data}: is not a regular file, expected an LMDB file")
    if not found.st_size:
        raise StoreDamaged(f"store {data}: is empty, expected an LMDB file")


def _check_length(directory: str, env: lmdb.Environment) -> None:
    """Refuse a file that lacks pages: to touch one of them in the map would kill the process (SIGBUS).

    LMDB may leave free pages at the end unwritten, so a short file is looked through before it is called damaged.
    """
    data = data_path(directory)
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    found = os.path.getsize(data)
    if found < expected and (problem := _first_problem(directory)):
        raise StoreDamaged(f"store {data}: is {found} bytes long, expected {expected}: {problem}")


def _first_problem(directory: str) -> str | None:
    try:
        found: list[str] = lmdb.verify.verify(directory)  # type: ignore[no-untyped-call]  # it ships no types
        return next(iter(found), None)
    except lmdb.verify.VerifyError as error:
        return str(error)

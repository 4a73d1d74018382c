"""Making, checking, copying and opening the LMDB file in a store's directory, for one process alone.

A data file is made in another directory and renamed into place when complete. So an empty or a short file under its
name is damage, never a beginning, and is left for a person to inspect.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import lmdb

from shazimd.errors import StoreDamaged, StoreError
from shazimd.posix import files, mounts
from shazimd.posix.files import try_lock
from shazimd.store import child
from shazimd.store.tables import TABLES_MAX, create_tables

DATA = "data.mdb"
READERS_MAX = 1024
"""Slots of 64 bytes each; LMDB's default of 126 is fewer than a server may have threads."""
_RELEASE_S, _PAUSE_S = 5.0, 0.02
"""How long a lock may outlive its holder: a child that was being started when the holder was killed has the lock until
it runs its own program."""


class DirectoryLock:
    """Holds a directory until ``close`` or the end of the process, a crash included.

    LMDB alone would let two daemons write, each unaware of the other. The file ``lock`` stays behind: only the kernel's
    lock counts, not the file. It names the last holder's process.
    """

    def __init__(self, directory: str) -> None:
        """Raises StoreError when another process, or another store in this one, holds the directory; OSError."""
        name = os.path.join(directory, "lock")
        self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._take(directory)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, directory: str) -> None:
        deadline = time.monotonic() + _RELEASE_S
        while not try_lock(self._fd):
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            if _may_run(holder) or time.monotonic() >= deadline:
                raise StoreError(f"store {directory}: held by process {holder}, expected no other")
            time.sleep(_PAUSE_S)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        os.close(self._fd)


def _may_run(process: str) -> bool:
    """Whether a process may still run, by its number as text; True for other text."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


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


def create_if_missing(directory: str) -> bool:
    """Make an empty store unless the name of its data file is taken; whether it was made."""
    if os.path.lexists(data_path(directory)):
        return False
    with replacing_data(directory) as aside:
        env = _open(aside, map_size_bytes=16 << 20)
        try:
            create_tables(env)
        finally:
            env.close()
    return True


@contextmanager
def replacing_data(directory: str) -> Iterator[str]:
    """A new, empty directory. If the block succeeds, the data file made there replaces the store's, durably.

    Processes that have the old data file open keep it with its lock file. LMDB keeps the number of the last transaction
    in the lock file while any process has that open, and would read the new data file by the number of the old one."""
    with _removed_at_the_end(os.path.join(directory, "unfinished")) as aside:
        yield aside
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, "lock.mdb"))
        os.rename(data_path(aside), data_path(directory))
        files.sync(directory)


@contextmanager
def new_directory(path: str) -> Iterator[str]:
    """A new, empty directory. If the block succeeds, the directory gets this name, durably. Raises StoreError when the
    name is taken."""
    path = path.rstrip("/") or "/"
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
    """Open a data file, which must be whole. Raises StoreDamaged, lmdb.Error, OSError."""
    _expect_file(data_path(directory))
    env = _open(directory, map_size_bytes)
    try:
        env.reader_check()  # slots of a process that was killed would hold back freed pages
    except BaseException:
        env.close()
        raise
    return env


def expect_whole(directory: str) -> None:
    """Look for damage before LMDB opens a data file: to touch a damaged page in its map could kill this process.

    Reads all of it, in a process of its own: 70 us for each content. Raises StoreDamaged."""
    _expect_file(data_path(directory))
    if found := child.run("verify", directory):
        raise damaged(directory, found)


def damaged(directory: str, found: Sequence[str]) -> StoreDamaged:
    """The error for a store with damage."""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return StoreDamaged(
        f"store {data_path(directory)}: found damage, expected an intact LMDB file: {found[0]}{more}; "
        "shazimctl store check names the files, shazimctl store repair keeps all that is whole"
    )


def was_closed(directory: str) -> bool:
    """Whether the data file is as the last process left it at its end, and nobody has changed it since."""
    try:
        with open(_closed_path(directory), "rb") as file:
            return file.read() == _identity(directory)
    except FileNotFoundError:
        return False


def note_open(directory: str) -> None:
    """From now on the file is not closed; durable. Raises OSError."""
    try:
        os.unlink(_closed_path(directory))
    except FileNotFoundError:
        return
    files.sync(directory)


def note_closed(directory: str) -> None:
    """Note that the data file is whole and will not be changed. Raises OSError."""
    files.atomic_write(_closed_path(directory), _identity(directory))


def _closed_path(directory: str) -> str:
    return os.path.join(directory, "closed")


def _identity(directory: str) -> bytes:
    """A file that is changed by write(2), truncated or replaced has another ctime, which no program can set."""
    found = os.stat(data_path(directory))
    return b"%d %d %d %d\n" % (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def copy(env: lmdb.Environment, directory: str) -> None:
    """Write a compact, consistent and durable copy of the data file into a directory, beside running readers.

    LMDB copies the used part of each page only (mdb_page_copy), so no bytes of removed rows are in the copy."""
    fd = os.open(data_path(directory), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        env.copyfd(fd, compact=True)
        os.fsync(fd)
    finally:
        os.close(fd)
    files.sync(directory)


def _open(directory: str, map_size_bytes: int) -> lmdb.Environment:
    return lmdb.open(
        os.fsencode(directory),  # as text LMDB takes UTF-8 alone
        map_size=map_size_bytes,
        mode=0o600,
        max_dbs=TABLES_MAX,
        max_readers=READERS_MAX,
        readahead=False,  # rows are read here and there; whole passes are rare
    )


def _expect_file(data: str) -> None:
    found = os.lstat(data)
    if not stat.S_ISREG(found.st_mode):
        raise StoreDamaged(f"store {data}: is not a regular file, expected an LMDB file")
    if not found.st_size:
        raise StoreDamaged(f"store {data}: is empty, expected an LMDB file")


@contextmanager
def as_owner(path: str) -> Iterator[None]:
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

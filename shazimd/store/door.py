"""The one door at which errors of LMDB and of the file system become ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import lmdb

from shazimd.errors import StoreDamaged, StoreError, StoreFull

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_FULL_BYTES = 1 << 20
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


@contextmanager
def lmdb_errors(path: str) -> Iterator[None]:
    """Turn what LMDB raises about the store at ``path`` into StoreError, keeping the cause. Wraps the caller's work
    too, whose own OSErrors are not ours to turn."""
    try:
        yield
    except lmdb.Error as error:
        raise _from_lmdb(path, error) from error


@contextmanager
def foreign_errors(path: str) -> Iterator[None]:
    """The same, and what the operating system says of files."""
    try:
        with lmdb_errors(path):
            yield
    except OSError as error:
        raise _from_system(path, error) from error


def _from_lmdb(path: str, error: lmdb.Error) -> StoreError:
    if isinstance(error, _DAMAGED):
        return StoreDamaged(f"store {path}: found damage, expected an intact LMDB file: {error}")
    if error.code == errno.EIO and _is_full(path):  # what LMDB makes of a write that came back short
        return _cannot_write(path, errno.ENOSPC)
    if error.code in _CANNOT_WRITE:
        return _cannot_write(path, error.code)
    return StoreError(f"store {path}: {error}")


def _is_full(path: str) -> bool:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize < _FULL_BYTES


def _from_system(path: str, error: OSError) -> StoreError:
    if error.errno in _CANNOT_WRITE:
        return _cannot_write(path, error.errno)
    return StoreError(f"store {error.filename or path}: {error.strerror or error}")


def _cannot_write(path: str, code: int) -> StoreFull:
    return StoreFull(
        f"store {path}: can't write: {os.strerror(code)}; nothing was kept, expected room on a writable disk"
    )

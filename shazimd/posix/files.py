"""Durable and atomic changes of files, and locks between processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


def atomic_write(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically and durably: readers, and a crash, find the old or the new content. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(data)


@contextmanager
def replacing(path: str, mode: int) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` at the end, atomically and durably; after an error it is removed, and
    ``path`` stays as it was. Raises OSError."""
    directory, name = os.path.split(os.path.abspath(path))
    # A random name, opened exclusively: in a directory shared with others, nobody can put a symlink in its place.
    descriptor, partial = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            yield file
            os.fchmod(descriptor, mode)
        replace(partial, path)
    except BaseException:
        if os.path.lexists(partial):
            os.unlink(partial)
        raise


def replace(source: str, target: str) -> None:
    """Rename a file over another, durably: after a power cut the new name never leads to half a file."""
    sync(source)  # before the rename: ext4 and XFS may order them otherwise (rename(2) promises atomicity only)
    os.replace(source, target)
    sync(os.path.dirname(os.path.abspath(target)))


def names(directory: str) -> list[str]:
    """The names in a directory but for those of directories, such as a NAS makes for its previews. Raises OSError."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]


def sync(path: str) -> None:
    """Flush a file, or the names in a directory, to the disk; see fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another open file description holds the lock. See flock(2)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

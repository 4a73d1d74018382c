"""Exclusive use of a store's directory: LMDB alone would let two daemons write, each unaware of the other."""

from __future__ import annotations

import os

from shazimd.errors import StoreError
from shazimd.posix.files import try_lock


class DirectoryLock:
    """Holds a directory until ``release`` or the end of the process, a crash included.

    The file ``lock`` stays behind: only the kernel's lock counts, not the file. It names the last holder's process.
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
        if not try_lock(self._fd):
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(f"store {directory}: held by process {holder}, expected no other")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        os.close(self._fd)

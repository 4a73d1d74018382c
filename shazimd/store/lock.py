"""One process at a time: LMDB would let two write, and each would tell only its own story."""

from __future__ import annotations

import fcntl
import os

from shazimd.errors import StoreError


class DirectoryLock:
    """Holds a directory until ``release`` or the end of the process, however that comes.

    The file ``lock`` stays behind: it is the kernel's lock on it that counts, not its presence. It names the
    process that took it last.
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
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(f"store {directory}: held by process {holder}, expected no other") from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        os.close(self._fd)

"""Image files on the disk: their stat, their bytes, and whether a known file is still as the store has it."""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from shazimd.errors import Unreadable
from shazimd.ingest.patience import RemoteRoots, Stalled
from shazimd.ingest.rules import RootPolicy
from shazimd.posix.reach import within_reach
from shazimd.posix.sealed import SealedBytes
from shazimd.types import Digest, Stat, new_digest
from shazimd.watch.sniff import begins_like_a_picture

PLAIN_BYTES_MAX = 1 << 20
"""A file of so many bytes is read into memory of this process: most have known bytes, or are small, and sealed memory
costs six system calls."""

Picture: TypeAlias = "bytes | SealedBytes"
"""The bytes of a file, sealed if they are many."""


class FoundFile(NamedTuple):
    """A regular file."""

    stat: Stat
    device: int
    names: int
    """number of hard links"""

    def is_same_file(self, other: FoundFile) -> bool:
        """Whether both are names of one file: by a hard link, a bind mount, or a root that is a link to another."""
        return (self.device, self.stat.inode) == (other.device, other.stat.inode)


class Disk:
    """Reads files as the settings of their root demand. Safe from any thread."""

    def __init__(self, roots: RootPolicy) -> None:
        self._roots = roots
        self._remote = RemoteRoots(roots.stalling)

    def look(self, path: bytes) -> FoundFile | None:
        """The file at a path, None without a regular file, or without an image where the first bytes tell. Raises
        Unreadable."""
        follow = self._roots.follows_symlinks(path)
        try:
            with within_reach(path) as near:
                found = os.stat(near, follow_symlinks=follow)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        if not stat_module.S_ISREG(found.st_mode):
            return None
        if self._roots.needs_sniff(path) and not begins_like_a_picture(path, follow_symlinks=follow):
            return None
        return FoundFile(Stat.of(found), found.st_dev, found.st_nlink)

    def read(self, path: bytes, stat: Stat) -> ReadFile | None:
        """See ``read_whole``."""
        return read_whole(path, stat, follow_symlinks=self._roots.follows_symlinks(path))

    def look_briefly(self, path: bytes) -> FoundFile | None:
        """``look``; None also if the file system does not answer soon. Raises Unreadable."""
        try:
            return self._ask(path)
        except Stalled:
            return None

    def glance(self, path: bytes) -> FoundFile | None:
        """``look``, but None also if the file system reports an error or does not answer soon."""
        try:
            return self._ask(path)
        except (Unreadable, Stalled):
            return None

    def is_missing(self, path: bytes) -> bool:
        """Whether there is no regular file at the path; False if the file system reports an error or does not answer
        soon."""
        try:
            return self._ask(path) is None
        except (Unreadable, Stalled):
            return False

    def _ask(self, path: bytes) -> FoundFile | None:
        """``look``. Raises Unreadable, and Stalled if the file system does not answer soon."""
        return self._remote.read(path, lambda _: self.look(path))

    def is_current(self, path: bytes, known: Stat, digest: Digest, found: FoundFile) -> bool:
        """Whether a known file still has its content: a move or change since its last ingest is possible. If only its
        stat differs, its bytes are read."""
        if found.stat.size != known.size:
            return False
        if found.stat.is_unchanged_since(known):
            return True
        try:
            content = self.read(path, found.stat)
        except Unreadable:
            return False
        return content is not None and content.digest == digest


class ReadFile(NamedTuple):
    """The content of a file, which was read once."""

    data: Picture
    digest: Digest


def read_whole(
    path: bytes, stat: Stat, *, follow_symlinks: bool, seen: Callable[[object], object] | None = None
) -> ReadFile | None:
    """All bytes of a file; None if its stat differs from ``stat`` afterwards. ``seen`` gets each piece that was read.
    Raises Unreadable."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in its place must not block
    try:
        with within_reach(path) as near:
            opened = os.open(near, flags if follow_symlinks else flags | os.O_NOFOLLOW)
        try:
            digest = new_digest()

            def note(piece: bytes | memoryview) -> None:
                digest.update(piece)
                if seen:
                    seen(piece)

            data = _read(opened, stat.size + 1, note)
            after = Stat.of(os.fstat(opened))
        finally:
            os.close(opened)
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):  # gone, or a FIFO by now
        return None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    is_whole = after.is_unchanged_since(stat) and len(data) == stat.size
    return ReadFile(data, digest.digest()) if is_whole else None


def _read(descriptor: int, size_max: int, seen: Callable[[bytes | memoryview], object]) -> Picture:
    if size_max > PLAIN_BYTES_MAX:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return SealedBytes.read(file, size_max, seen)
    data = b""
    while len(data) < max(1, size_max - 1) and (piece := os.read(descriptor, size_max - len(data))):
        seen(piece)
        data += piece
    return data

"""Facts about a file, read with the user's rights: the state and digest, and the header of the picture.

Symbolic links are never followed. The header is parsed by Pillow without decoding pixels.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from io import FileIO

from shazimd.errors import BadInput, NotFound, Unreadable
from shazimd.imaging.header import header_facts
from shazimd.search.keep import KeepFacts
from shazimd.text import readable
from shazimd.types import PictureFacts, new_digest


@dataclass(frozen=True, slots=True)
class DiskState:
    """Metadata and digest of a regular file at a moment."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    links: int
    digest: str
    """BLAKE2b-256 in hex"""

    @property
    def identity(self) -> tuple[int, int]:
        """Equal for two names of one file."""
        return self.device, self.inode

    @property
    def version(self) -> tuple[object, ...]:
        """Equal while neither the file nor its bytes differ."""
        return self.identity, self.size, self.mtime_ns, self.digest


def why(error: OSError) -> str:
    """The reason of an error without a path, which libraries add in forms of their own."""
    if error.errno == errno.ENAMETOOLONG:
        return "its path has 4,096 bytes or more, which programs can't name: move it, or a directory on its way, up"
    return os.strerror(error.errno) if error.errno else str(error)


def read_state(path: bytes) -> DiskState:
    """The state of a regular file, read whole. Raises NotFound, BadInput or Unreadable, each with the path."""
    try:
        with _open(path) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise BadInput(f"{readable(path)}: not a regular file")
            digest = hashlib.file_digest(file, new_digest).hexdigest()
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise NotFound(f"{readable(path)}: no such file") from error
    except OSError as error:
        raise Unreadable(f"{readable(path)}: {why(error)}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Unreadable(f"{readable(path)}: changed while it was read")
    return DiskState(
        after.st_dev,
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
        stat.S_IMODE(after.st_mode),
        after.st_uid,
        after.st_gid,
        after.st_nlink,
        digest,
    )


def status_now(path: bytes) -> os.stat_result:
    """The metadata of a file, by opening it: FUSE and network mounts answer lstat(2) from their caches, but not
    open(2). Raises BadInput or Unreadable."""
    try:
        with _open(path) as file:
            return os.fstat(file.fileno())
    except OSError as error:
        raise Unreadable(f"{readable(path)}: {why(error)}") from error


def _open(path: bytes) -> FileIO:
    """O_NONBLOCK: opening a FIFO would wait for its writer."""
    try:
        return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
    except OSError:
        if os.path.islink(path):  # ELOOP, whose text speaks of "too many levels"
            raise BadInput(f"{readable(path)}: a symbolic link, left alone") from None
        raise


def read_header(path: bytes, mtime_ns: int, size: tuple[int, int], *, reference: bool, damaged: bool) -> KeepFacts:
    """Facts from the header of a picture; without those when the file cannot be read or parsed."""
    try:
        with _open(path) as file:
            facts = header_facts(file)
    except (OSError, BadInput):
        facts = PictureFacts()
    return KeepFacts(path, mtime_ns, *size, facts, reference=reference, damaged=damaged)

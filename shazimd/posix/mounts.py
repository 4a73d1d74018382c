"""What the mount table says of a path: where it is mounted, and whether its file system tells of all changes.

inotify is told only what passes through this kernel. What another machine writes to a network share, or another program
to what lies beneath a FUSE mount, makes no event here. See inotify(7), "Limitations and caveats".
"""

from __future__ import annotations

import os
import re
import select
from typing import NamedTuple

from shazimd.errors import WatchError

TABLE = "/proc/self/mountinfo"

_EVENTLESS = frozenset(
    (
        b"nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs ceph lustre gfs2 ocfs2 beegfs orangefs 9p virtiofs vboxsf prl_fs fuse"
    ).split()
)
"""Others write here too. "fuse.*" is one as well; "fuseblk" (NTFS, exFAT) is a local disk, and tells."""


class Mount(NamedTuple):
    point: bytes
    fstype: bytes
    device: bytes
    """major:minor"""

    @property
    def gives_events(self) -> bool:
        return self.fstype not in _EVENTLESS and not self.fstype.startswith(b"fuse.")


class Mounts:
    """The mount table, read again only when the kernel says that it changed. For one thread.

    The kernel says so once, to whoever polls first: one who polls ``fileno`` himself calls ``expire`` then."""

    def __init__(self) -> None:
        """Raises WatchError when there is no mount table."""
        try:
            self._file = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WatchError(f"{TABLE}: {error.strerror}; /proc must be mounted") from error
        self._changed = select.poll()
        self._changed.register(self._file, select.POLLPRI)
        self._table: dict[bytes, Mount] | None = None

    def fileno(self) -> int:
        """Polls as POLLPRI when the table has changed."""
        return self._file

    def expire(self) -> None:
        """Read the table anew when it is next needed."""
        self._table = None

    def table(self) -> dict[bytes, Mount]:
        """What is mounted now, by mount point; of several on one point the topmost."""
        if self._changed.poll(0) or self._table is None:
            self._table = {mount.point: mount for mount in parse(_read_all(self._file))}
        return self._table

    def of(self, path: bytes) -> Mount:
        """The mount that a path (absolute, normalised, symlinks resolved) lies on."""
        table = self.table()
        while path not in table and path != b"/":
            path = os.path.dirname(path)
        return table.get(path) or Mount(b"/", b"rootfs", b"0:0")

    def below(self, path: bytes) -> tuple[Mount, ...]:
        """The mounts at and below a path, and the one that it lies on."""
        inside = (mount for mount in self.table().values() if is_at_or_below(mount.point, path))
        return self.of(path), *inside

    def close(self) -> None:
        os.close(self._file)


def parse(text: bytes) -> list[Mount]:
    """The mounts of a mountinfo file, in its order; proc_pid_mountinfo(5) has the fields.

    >>> parse(b"36 35 98:0 / /a\\\\040b rw,noatime master:1 - ext3 /dev/root rw")
    [Mount(point=b'/a b', fstype=b'ext3', device=b'98:0')]
    """
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(b" - ")
        fields = head.split(b" ")
        mounts.append(Mount(_unescape(fields[4]), tail.split(b" ")[0], fields[2]))
    return mounts


def is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _unescape(field: bytes) -> bytes:
    """Blank, tab, newline and backslash are written as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def _read_all(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(file, 65536), b""))

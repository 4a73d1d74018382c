"""The mount table: mount points, their file systems, and which of these are shared with other machines.

inotify reports only changes made through this kernel: no events come from other machines' writes to a network share, or
from a program's writes below a FUSE mount. See inotify(7), "Limitations and caveats".
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Mapping
from typing import NamedTuple

from shazimd.errors import WatchError

TABLE = "/proc/self/mountinfo"

NETWORK = frozenset(
    (
        b"nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs ceph lustre gfs2 ocfs2 gpfs beegfs pvfs2 panfs wekafs "
        b"9p virtiofs vboxsf vmhgfs prl_fs fuse"
    ).split()
)
"""File systems that others may change without this kernel, and whose locks and write order can't be relied on; by the
kernel's names, as pvfs2 for OrangeFS."""


class Mount(NamedTuple):
    point: bytes
    fstype: bytes
    device: bytes
    """major:minor"""

    @property
    def is_network(self) -> bool:
        """Shared with other machines or programs: no events, and no place for a database."""
        # Any "fuse.*" may lead to a network; "fuseblk" (NTFS, exFAT) is a local disk.
        return self.fstype in NETWORK or self.fstype.startswith(b"fuse.")

    @property
    def gives_events(self) -> bool:
        return not self.is_network


class Mounts:
    """The mount table, read again only after a change. Not thread-safe.

    The kernel reports a change only to the first poll: after an own poll of ``fileno``, call ``expire``."""

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
        """Current mounts by mount point; the topmost of several on the same point."""
        if self._changed.poll(0) or self._table is None:
            self._table = {mount.point: mount for mount in parse(_read_all(self._file))}
        return self._table

    def of(self, path: bytes) -> Mount:
        """The mount of a path (absolute, normalised, symlinks resolved)."""
        return mount_around(path, self.table()) or Mount(b"/", b"rootfs", b"0:0")

    def below(self, path: bytes) -> tuple[Mount, ...]:
        """The mount of a path, then all mounts at and below the path."""
        inside = (mount for mount in self.table().values() if is_at_or_below(mount.point, path))
        return self.of(path), *inside

    def close(self) -> None:
        """Closing twice is fine: by then another file may have the number."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def mount_around(path: bytes, table: Mapping[bytes, Mount]) -> Mount | None:
    """The mount of a path (absolute, normalised, symlinks resolved) by mount points; None where not even / has one."""
    while path not in table and path != b"/":
        path = os.path.dirname(path)
    return table.get(path)


def point_around(path: bytes, table: str = TABLE) -> bytes:
    """The innermost mount point on the way to a path (absolute, normalised), read from the table in any thread; nothing
    on the disk is asked. Raises OSError without a mount table."""
    mount = mount_around(path, {mount.point: mount for mount in _read(table)})
    return mount.point if mount else b"/"


def of_device(device: int, table: str = TABLE) -> Mount | None:
    """A mount of a device by its number ``st_dev``; None for a btrfs subvolume, whose number differs.

    Unlike ``Mounts.of``, it works for any path and symlink. Raises OSError without a mount table."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    return next((mount for mount in _read(table) if mount.device == wanted), None)


def _read(table: str) -> list[Mount]:
    with open(table, "rb") as file:
        return parse(file.read())


def parse(text: bytes) -> list[Mount]:
    """The mounts of a mountinfo file, in its order; proc_pid_mountinfo(5) has the fields.

    >>> parse(b"36 35 98:0 / /a\\\\040b rw,noatime master:1 - ext3 /dev/root rw")
    [Mount(point=b'/a b', fstype=b'ext3', device=b'98:0')]
    """
    mounts = []
    for line in text.split(b"\n"):  # splitlines would split at a carriage return, which the kernel does not escape
        head, _, tail = line.partition(b" - ")
        fields = head.split(b" ")
        if len(fields) < 5:
            continue
        mounts.append(Mount(_unescape(fields[4]), tail.split(b" ")[0], fields[2]))
    return mounts


def is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _unescape(field: bytes) -> bytes:
    """Decode the octal digits that stand for blank, tab, newline and backslash."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def _read_all(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(file, 65536), b""))

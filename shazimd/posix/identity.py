"""Which directory of which file system lies at a path, by marks that outlive a boot and another USB port.

UUID       as the kernel gives it since Linux 6.9
fsid       statfs(2); ext4, btrfs, zfs and tmpfs make it of a UUID, others of the device's number, which is no mark
inode      of the directory, where the file system keeps it: another bind mount or directory has another
"""

from __future__ import annotations

import fcntl
import os

_FS_IOC_GETFSUUID = 0x80111500  # <linux/fs.h>: struct fsuuid2 { u8 len; u8 uuid[16]; }
_KEEPS_INODES = frozenset(b"ext2 ext3 ext4 xfs btrfs f2fs zfs bcachefs tmpfs".split())


def of_directory(path: bytes, fstype: bytes) -> str:
    """The marks of a directory in words, such as ``fsid 3d62423548dd422e inode 2``; empty if it has none or can't be
    opened. ``fstype``: as in the mount table."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        marks = _fsid(descriptor) or _uuid(descriptor)
        if marks and fstype in _KEEPS_INODES:
            marks += f" inode {os.fstat(descriptor).st_ino}"
        return marks
    finally:
        os.close(descriptor)


def _fsid(descriptor: int) -> str:
    fsid, device = os.statvfs(descriptor).f_fsid, os.fstat(descriptor).st_dev
    return f"fsid {fsid:016x}" if fsid not in (0, _encoded(device)) else ""


def _uuid(descriptor: int) -> str:
    try:
        found = fcntl.ioctl(descriptor, _FS_IOC_GETFSUUID, bytes(17))
    except OSError:  # an older kernel, or a file system without
        return ""
    uuid = found[1 : 1 + found[0]]
    return f"uuid {uuid.hex()}" if any(uuid) else ""


def _encoded(device: int) -> int:
    """A device's number as the kernel makes an fsid of it: huge_encode_dev() in <linux/kdev_t.h>."""
    major, minor = os.major(device), os.minor(device)
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12

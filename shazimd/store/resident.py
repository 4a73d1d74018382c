"""Resident memory: pages of the map that were read count as ours until the kernel needs the memory.

A pass over a million rows makes gigabytes resident. They are the kernel's cache of the file: releasing them costs a
minor fault when one is read again.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

RESIDENT_BYTES_MAX = 24 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class MappedFile:
    """The resident pages of one mapped file in this process."""

    def __init__(self, path: str) -> None:
        self._name = os.fsencode(os.path.basename(path))
        self._inode = os.stat(path).st_ino
        self._kept = _file_pages_bytes()

    def trim(self) -> None:
        """Release the pages when there are many more than after the last release.

        The caller must keep the mapping in place meanwhile: other memory at its address would be wiped."""
        if _file_pages_bytes() - self._kept > RESIDENT_BYTES_MAX:
            self.release()

    def release(self) -> None:
        """Release the pages, under the same condition."""
        for start, length in self._mappings():
            if _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._kept = _file_pages_bytes()

    def _mappings(self) -> Iterator[tuple[int, int]]:
        """(address, length) of each; see proc_pid_maps(5). The device is not compared: btrfs gives another there."""
        with open("/proc/self/maps", "rb") as lines:
            for line in lines:
                span, _, _, _, inode, *path = line.split(maxsplit=5)
                if int(inode) == self._inode and path and path[0].rstrip().endswith(self._name):
                    start, end = (int(address, 16) for address in span.split(b"-"))
                    yield start, end - start


def _file_pages_bytes() -> int:
    """Resident pages of all mapped files, libraries too; see proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[2]) * mmap.PAGESIZE

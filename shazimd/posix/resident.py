"""Resident memory: pages of a mapped file that were read count as ours until the kernel needs the memory.

A pass over a million rows of a store makes gigabytes resident. They are the cache of the kernel: releasing them
costs a minor fault when one is read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from shazimd.posix import memory

_LIBRARY = b".so"
"""in the path of each"""
RESIDENT_BYTES_MAX = 8 << 20
"""A question reads a megabyte of a store, a trim takes a fifth of a millisecond."""

Pages = Sequence[tuple[int, int]]
"""(address, length) of mappings"""


def library_pages() -> Pages:
    """The code and constants of the loaded libraries, as far as they are as their files are; see proc_pid_smaps(5).

    Pages that differ from their file, as the dynamic linker or a debugger leaves them, are none of these."""
    found, span = [], b""
    with open("/proc/self/smaps", "rb") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if not fields[0].endswith(b":"):  # a mapping; its figures follow
                is_library = fields[1] in (b"r-xp", b"r--p") and _LIBRARY in fields[-1]
                span = fields[0] if is_library else b""
            elif span and fields[:2] == [b"Anonymous:", b"0"]:
                found.append(_address_and_length(span))
    return found


def release(pages: Pages) -> None:
    """Release pages, for a process that waits: those that it uses later are read again, some 64 KiB at a time, and
    those that only its start or its last job used are not. Their libraries must still be loaded."""
    for start, length in pages:
        memory.drop_pages(start, length)


def _address_and_length(span: bytes) -> tuple[int, int]:
    start, end = (int(address, 16) for address in span.split(b"-"))
    return start, end - start


class MappedFile:
    """The resident pages of one mapped file in this process."""

    def __init__(self, path: str) -> None:
        self._name = os.fsencode(os.path.basename(path))
        self._inode = os.stat(path).st_ino
        self._kept = memory.resident_file_bytes()

    def trim(self) -> None:
        """Release the pages when there are many more than after the last release.

        The caller must keep the mapping in place meanwhile: other memory at its address would be wiped."""
        if memory.resident_file_bytes() - self._kept > RESIDENT_BYTES_MAX:
            self.release()

    def release(self) -> None:
        """Release the pages. The caller must keep the mapping in place, as for ``trim``."""
        for start, length in self._mappings():
            memory.drop_pages(start, length)
        self._kept = memory.resident_file_bytes()

    def _mappings(self) -> Iterator[tuple[int, int]]:
        """(address, length) of each; see proc_pid_maps(5). The device is not compared: btrfs gives another there."""
        with open("/proc/self/maps", "rb") as lines:
            for line in lines:
                span, _, _, _, inode, *path = line.split(maxsplit=5)
                if int(inode) == self._inode and path and path[0].rstrip().endswith(self._name):
                    yield _address_and_length(span)

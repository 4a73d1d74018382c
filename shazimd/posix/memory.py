"""Memory of this process: settings of glibc's allocator (mallopt(3)), resident sizes (proc_pid_statm(5)), and the pages
of mapped files.

With another C library, such as musl, the settings do nothing. Pages of a mapped file that were read count as ours until
the kernel needs the memory: a pass over a million rows of a store makes gigabytes resident. They are the cache of the
kernel: releasing them costs a minor fault when one is read again.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterator, Sequence

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

_ARENAS = 2
_RETURNED_BYTES = 1 << 20
"""Arrays of a search have up to half of it: with 128 KiB, the thresholds that glibc begins with, the kernel cleared
their pages anew for each, a fifth of the daemon's processor time."""
_KEPT_BYTES = 32 << 20
"""The most that mallopt(3) takes; the pyramids of local features are 12 MB for each picture."""

_LIBRARY = b".so"
"""in the path of each"""
RESIDENT_BYTES_MAX = 8 << 20
"""A question reads a megabyte of a store, a trim takes a fifth of a millisecond."""

Pages = Sequence[tuple[int, int]]
"""(address, length) of mappings"""

_libc = ctypes.CDLL(None, use_errno=True)


def return_freed_memory() -> None:
    """Make freed memory go back to the kernel, for a process whose many threads read large files now and then.

    Otherwise glibc keeps an arena per thread, and raises the size that it keeps: a third of the daemon's memory.
    What ``keep_freed_memory`` kept goes back now.
    """
    _mallopt(_M_ARENA_MAX, _ARENAS)
    _mallopt(_M_TRIM_THRESHOLD, _RETURNED_BYTES)
    _mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
    trim()


def keep_freed_memory(at_most: int = _KEPT_BYTES) -> None:
    """Keep so much freed memory of each arena for the next allocation, until ``trim`` or ``return_freed_memory``.

    Otherwise the kernel clears the same pages anew for each picture: a sixth of the time of all decoding.
    """
    _mallopt(_M_TRIM_THRESHOLD, at_most)
    _mallopt(_M_MMAP_THRESHOLD, at_most)


def trim() -> None:
    """Give freed memory back to the kernel now; see malloc_trim(3)."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process, without its children."""
    return _statm(1)


def resident_file_bytes() -> int:
    """Resident pages of all mapped files, libraries included."""
    return _statm(2)


def usable_bytes() -> int:
    """Memory that this process may use: the machine's, or less by the limits of its control groups (cgroups(7))."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits()])


def _group_limits() -> Iterator[int]:
    """Limits of the process's group and of the groups above; none without control groups of version 2."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            group = next((line.strip()[3:] for line in file if line.startswith("0::/")), None)
    except OSError:
        return
    while group is not None:
        for name in ("memory.high", "memory.max"):
            try:
                with open(f"/sys/fs/cgroup{group}/{name}", encoding="ascii") as file:
                    yield int(file.read())
            except (OSError, ValueError):  # the root group has no limits; "max" is none
                continue
        group = os.path.dirname(group) if group != "/" else None


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
        _drop_pages(start, length)


class LibraryCode:
    """The pages of the libraries that are loaded now, for a process that gives back those that its work no longer uses.

    A thread that loads another library meanwhile has written some of its pages: hence they are looked up once."""

    def __init__(self, every_s: float) -> None:
        self._pages = library_pages()
        self._every_s = every_s
        self._due = time.monotonic() + every_s

    def release(self) -> None:
        """Release all of them; see ``release``."""
        self._due = time.monotonic() + self._every_s
        release(self._pages)

    def release_at_work(self) -> bool:
        """As ``release``, at most every ``every_s`` seconds; whether now."""
        if is_due := time.monotonic() >= self._due:
            self.release()
        return is_due


class MappedFile:
    """The resident pages of one mapped file in this process."""

    def __init__(self, path: str) -> None:
        self._name = os.fsencode(os.path.basename(path))
        self._inode = os.stat(path).st_ino
        self._kept = resident_file_bytes()

    def trim(self) -> None:
        """Release the pages when there are many more than after the last release.

        The caller must keep the mapping in place meanwhile: other memory at its address would be wiped."""
        if resident_file_bytes() - self._kept > RESIDENT_BYTES_MAX:
            self.release()

    def release(self) -> None:
        """Release the pages. The caller must keep the mapping in place, as for ``trim``."""
        for start, length in self._mappings():
            _drop_pages(start, length)
        self._kept = resident_file_bytes()

    def _mappings(self) -> Iterator[tuple[int, int]]:
        """(address, length) of each; see proc_pid_maps(5). The device is not compared: btrfs gives another there."""
        with open("/proc/self/maps", "rb") as lines:
            for line in lines:
                span, _, _, _, inode, *path = line.split(maxsplit=5)
                if int(inode) == self._inode and path and path[0].rstrip().endswith(self._name):
                    yield _address_and_length(span)


def _drop_pages(start: int, length: int) -> None:
    """Give the resident pages of a mapping back to the kernel; the next access reads the file. Raises OSError.

    Anonymous memory at these addresses would be lost.
    """
    if _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _address_and_length(span: bytes) -> tuple[int, int]:
    start, end = (int(address, 16) for address in span.split(b"-"))
    return start, end - start


def _statm(field: int) -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[field]) * mmap.PAGESIZE


def _mallopt(option: int, value: int) -> None:
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(option, value)

"""Memory of this process: settings of glibc's allocator (mallopt(3)) and resident sizes (proc_pid_statm(5)).

With another C library, such as musl, the settings do nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h

_ARENAS = 2
_RETURNED_BYTES = 1 << 20
"""Arrays of a search have up to half of it: with 128 KiB, the thresholds that glibc begins with, the kernel cleared
their pages anew for each, a fifth of the daemon's processor time."""
_KEPT_BYTES = 32 << 20
"""The most that mallopt(3) takes; the pyramids of local features are 12 MB for each picture."""

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


def drop_pages(start: int, length: int) -> None:
    """Give the resident pages of a mapping back to the kernel; the next access reads the file. Raises OSError.

    Anonymous memory at these addresses would be lost.
    """
    if _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


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


def _statm(field: int) -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[field]) * mmap.PAGESIZE


def _mallopt(option: int, value: int) -> None:
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(option, value)

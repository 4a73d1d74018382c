"""Files that are open for writing, from /proc (proc(5)): in any process for root, else in the user's own."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress


def open_for_writing(paths: Collection[bytes]) -> set[bytes]:
    """Those of these files that some process has open for writing, as far as this user may see.

    Takes a few milliseconds, for one file or many."""
    wanted: dict[bytes, list[bytes]] = {}
    for path in paths:
        wanted.setdefault(os.path.basename(path), []).append(path)
    found: set[bytes] = set()
    for process in os.listdir(b"/proc") if wanted else ():
        if process.isdigit() and int(process) != os.getpid():
            for target, descriptor in _descriptors(process):
                for path in wanted.get(os.path.basename(target), ()):
                    if path not in found and _is_writer(process, descriptor, path):
                        found.add(path)
    return found


def _descriptors(process: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(path, number) of each open file of a process; none for a process of another user."""
    directory = b"/proc/%s/fd" % process
    try:
        descriptors = os.listdir(directory)
    except OSError:  # not ours, or gone
        return
    for descriptor in descriptors:
        with suppress(OSError):  # closed since: the others may be open still
            yield os.readlink(os.path.join(directory, descriptor)), descriptor


def _is_writer(process: bytes, descriptor: bytes, path: bytes) -> bool:
    """Whether a descriptor is of this file, and open for writing: names alone differ between mounts and containers."""
    try:
        if not os.path.samestat(os.stat(b"/proc/%s/fd/%s" % (process, descriptor)), os.stat(path)):
            return False
        with open(b"/proc/%s/fdinfo/%s" % (process, descriptor), "rb") as info:
            flags = next(line for line in info if line.startswith(b"flags:"))
    except (OSError, StopIteration):
        return False
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY

"""Rescans that users asked for, until their scans begin: they override the deletion guard."""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISDIR
from typing import NamedTuple

from shazimd.ingest.patience import RemoteCalls, Stalled
from shazimd.ingest.scan import Depth
from shazimd.posix.reach import within_reach

Place = tuple[int, int] | None
"""Device and inode of a directory; None where there is none, or no answer."""


class _Rescan(NamedTuple):
    depth: Depth
    place: Place


class Rescans:
    """Safe from any thread. A root that is away is scanned long after the request, when another disk may lie there."""

    def __init__(self, may_stall: Callable[[bytes], bool]) -> None:
        """``may_stall`` tells whether the file system of a path may hang."""
        self._may_stall = may_stall
        self._asked: dict[bytes, _Rescan] = {}

    def place(self, directory: bytes) -> Place:
        """The directory that lies at a path now."""
        if not self._may_stall(directory):
            return _place(directory)
        try:
            return RemoteCalls().call(lambda: _place(directory))
        except Stalled:
            return None

    def note(self, directory: bytes, depth: Depth) -> None:
        """Note a request of the directory that lies there now, or of one that is missing."""
        self._asked[directory] = _Rescan(depth, self.place(directory))

    def take(self, directory: bytes) -> tuple[Depth, bool]:
        """The depth that was asked for, and whether the request was made of what lies there now."""
        asked = self._asked.pop(directory, None)
        return (Depth.NONE, False) if asked is None else (asked.depth, asked.place == self.place(directory))


def _place(directory: bytes) -> Place:
    try:
        with within_reach(directory) as near:
            found = os.stat(near)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None

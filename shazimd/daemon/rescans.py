"""Rescans that users asked for, until their scans begin: they override the deletion guard."""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISDIR
from typing import NamedTuple

from shazimd.errors import Unavailable
from shazimd.ingest.patience import RemoteCalls, Stalled
from shazimd.ingest.scan import Depth
from shazimd.posix.reach import within_reach
from shazimd.text import readable

Place = tuple[int, int] | None
"""Device and inode of a directory; None where there is none."""


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
        """The directory that lies at a path now. Raises Unavailable if its file system does not answer."""
        if not self._may_stall(directory):
            return _place(directory)
        try:
            return RemoteCalls().call(lambda: _place(directory))
        except Stalled as error:
            reason = "its file system does not answer, known images stay; ask again later"
            raise Unavailable(f"{readable(directory)}: {reason}") from error

    def note(self, directory: bytes, depth: Depth) -> None:
        """Note a request of the directory that lies there now, or of one that is missing. Raises Unavailable."""
        self._asked[directory] = _Rescan(depth, self.place(directory))

    def take(self, directory: bytes) -> tuple[Depth, bool]:
        """The depth that was asked for, and whether the request was made of what lies there now."""
        asked = self._asked.pop(directory, None)
        if asked is None:
            return Depth.NONE, False
        try:
            return asked.depth, asked.place == self.place(directory)
        except Unavailable:
            return asked.depth, False


def _place(directory: bytes) -> Place:
    try:
        with within_reach(directory) as near:
            found = os.stat(near)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None

"""Rescans that users asked for, until their files are read: they override the deletion guard."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from stat import S_ISDIR
from typing import NamedTuple

from shazimd.errors import Unavailable
from shazimd.ingest.patience import RemoteCalls, Stalled
from shazimd.ingest.scan import Depth
from shazimd.posix.mounts import is_at_or_below
from shazimd.posix.reach import within_reach
from shazimd.text import readable

Place = tuple[int, int] | None
"""Device and inode of a directory; None where there is none."""
NOWHERE: Place = (-1, -1)
"""Of no directory."""


class Rescan(NamedTuple):
    depth: Depth
    place: Place


class Rescans:
    """Safe from any thread. A root that is away is scanned long after the request, when another disk may lie there."""

    def __init__(self, may_stall: Callable[[bytes], bool]) -> None:
        """``may_stall`` tells whether the file system of a path may hang."""
        self._may_stall = may_stall
        self._asked: dict[bytes, Rescan] = {}
        self._begun: dict[bytes, Rescan] = {}
        """those with a scan, until its files are read"""

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
        self._asked[directory] = Rescan(depth, self.place(directory))

    def take(self, directory: bytes) -> tuple[Depth, bool]:
        """The depth that was asked for, and whether the request was made of what lies there now."""
        asked = self._asked.pop(directory, None)
        if asked is None:
            return Depth.NONE, False
        self._begun[directory] = asked._replace(depth=max(asked.depth, self._begun.get(directory, asked).depth))
        try:
            return asked.depth, asked.place == self.place(directory)
        except Unavailable:
            return asked.depth, False

    def complete(self) -> None:
        """Note the end of all scans and of the reads of their files."""
        self._begun.clear()

    def unfinished(self, confirmed: Collection[bytes]) -> dict[bytes, Rescan]:
        """The incomplete requests, by directory. ``confirmed``: directories of unfinished scans with the right to
        override the deletion guard; the other begun scans have had theirs."""
        begun = {
            directory: rescan if _is_in_any(directory, confirmed) else rescan._replace(place=NOWHERE)
            for directory, rescan in self._begun.items()
        }
        return {**begun, **self._asked}

    def resume(self, directory: bytes, rescan: Rescan) -> None:
        """Note a request made of an earlier run."""
        self._asked[directory] = rescan


def _is_in_any(path: bytes, directories: Collection[bytes]) -> bool:
    return any(is_at_or_below(path, directory) for directory in directories)


def _place(directory: bytes) -> Place:
    try:
        with within_reach(directory) as near:
            found = os.stat(near)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None

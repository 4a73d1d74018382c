"""A scan of a tree: the order of its directories, and its missing and found files.

Known directories come before new ones: a moved file is then mostly missed at its old path before the scan finds its new
path. After an interrupted scan the next begins at the cursor, and compares the directories before the cursor last.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import IntEnum

from shazimd.posix.mounts import is_at_or_below
from shazimd.types import FileRow, FileState, Stat

GONE_MAX = 100_000
"""Limit of remembered missing files, and of found ones, which may have moved: about 40 MB. Moved files beyond the limit
are read again at their new path."""

Paths = dict[Stat, list[bytes]]
"""Paths of files by stat: hard links share a stat."""


class Depth(IntEnum):
    """Known files that a scan has read again, though their stat is unchanged."""

    NONE = 0
    FAILED = 1
    """files that could not be decoded: newer decoders may"""
    ALL = 2

    def includes(self, row: FileRow) -> bool:
        return self is Depth.ALL or (self is Depth.FAILED and row.state is FileState.FAILED)


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a step of a scan."""

    directory: bytes
    look: tuple[bytes, ...] = ()
    """new or changed files, and files to be read again"""
    depth: Depth = Depth.NONE
    """of the scan"""
    unsettled: tuple[bytes, ...] = ()
    """files changed just now, for the debouncer"""
    moved: int = 0
    """number of files whose rows were moved"""
    removed: int = 0
    """number of files whose rows were removed"""
    waiting: bool = False
    """removals wait for events or found files, which may explain them"""
    completed: bytes | None = None
    """the root whose full scan ended with this step"""


class _Turn(IntEnum):
    KNOWN = 0
    WRAPPED = 1
    """before the cursor"""
    FRESH = 2


@dataclass(slots=True)
class Scan:
    root: bytes
    top: bytes
    recursive: bool = True
    confirmed: bool = False
    """requested by a user: missing files are removed without the deletion guard"""
    depth: Depth = Depth.NONE
    cursor: bytes | None = None
    """directory at which the last scan was interrupted"""
    known: int = 0
    """number of known files"""
    missing: int = 0
    """known files neither found nor moved"""
    passed_over: int = 0
    """number of files that are no images by their names"""
    done: int = 0
    """number of compared directories"""
    gaps: dict[bytes, set[bytes]] = field(default_factory=dict)
    """the names of missing known files and subdirectories, by directory"""
    gone: Paths = field(default_factory=dict)
    """missing files, which may have moved"""
    found: Paths = field(default_factory=dict)
    """new and changed files, which may be missing elsewhere"""
    compared_at: float = 0.0
    """Unix time of its last directory"""
    decided: bool = False
    """the deletion guard has decided: the remaining gaps are to be removed"""
    abandoned: bool = False
    """the root could not be read"""
    _queue: list[tuple[_Turn, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queue.append((_Turn.KNOWN, self.top))

    @property
    def pending(self) -> int:
        """Number of queued directories."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        return self.recursive and self.top == self.root

    def include(self, other: Scan) -> None:
        """Be as thorough as another scan of the same directory."""
        self.recursive |= other.recursive
        self.confirmed |= other.confirmed
        self.depth = max(self.depth, other.depth)

    def is_as_thorough_as(self, other: Scan) -> bool:
        return (self.confirmed or not other.confirmed) and self.depth >= other.depth

    def push(self, directory: bytes, *, is_known: bool) -> None:
        heapq.heappush(self._queue, (self._turn(directory, is_known), directory))

    def pop(self) -> bytes | None:
        """The next directory to compare, None at the end."""
        return heapq.heappop(self._queue)[1] if self._queue else None

    def miss(self, stat: Stat, path: bytes) -> None:
        """Note a missing file."""
        self.missing += 1
        _note(self.gone, stat, path)

    def find(self, stat: Stat, path: bytes) -> None:
        """Note a new or changed file."""
        _note(self.found, stat, path)

    def explain(self, stat: Stat, old: bytes, new: bytes) -> None:
        """Note the new path of a missing file."""
        self.missing -= _strike(self.gone, stat, old)
        _strike(self.found, stat, new)

    def _turn(self, directory: bytes, is_known: bool) -> _Turn:
        if not is_known:
            return _Turn.FRESH
        if self.cursor is None or directory >= self.cursor or is_at_or_below(self.cursor, directory):
            return _Turn.KNOWN
        return _Turn.WRAPPED


def _note(paths: Paths, stat: Stat, path: bytes) -> None:
    if len(paths) < GONE_MAX and path not in (names := paths.setdefault(stat, [])):
        names.append(path)


def _strike(paths: Paths, stat: Stat, path: bytes) -> bool:
    """Remove a path; whether the path was noted."""
    there = path in paths.get(stat, ())
    if there:
        paths[stat].remove(path)
    return there

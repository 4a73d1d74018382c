"""One pass over a tree: the order in which directories are compared, and what was found missing on the way.

Directories that the store knows come before new ones, so that a file that was moved is mostly missed at its old place
before it is found at its new one. A pass that was cut off begins where it stood and does the rest after it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import IntEnum

from shazimd.posix.mounts import is_at_or_below
from shazimd.types import Stat

GONE_MAX = 100_000
"""Missing files, and found ones, that are remembered as possibly moved: about 40 MB. The others are read again where
they are found."""

Paths = dict[Stat, list[bytes]]
"""Where files are or were: several with one stat are hard links."""


class _Turn(IntEnum):
    KNOWN = 0
    WRAPPED = 1
    """before the place where the last pass was cut off"""
    FRESH = 2


@dataclass(slots=True)
class Scan:
    root: bytes
    top: bytes
    recursive: bool = True
    confirmed: bool = False
    """asked for by a person: what is missing is removed, however much it is"""
    cursor: bytes | None = None
    """where the last pass was cut off"""
    known: int = 0
    """files that the store knew"""
    missing: int = 0
    """of these, not found and not moved"""
    done: int = 0
    """directories"""
    gaps: set[bytes] = field(default_factory=set)
    """directories that lack something the store knows"""
    gone: Paths = field(default_factory=dict)
    """missing files that may turn up elsewhere"""
    found: Paths = field(default_factory=dict)
    """files that the store does not know so, and that may be missed elsewhere"""
    compared_at: float = 0.0
    """when its last directory was compared"""
    decided: bool = False
    """the gaps that are left are to be removed"""
    abandoned: bool = False
    """the root could not be read"""
    _queue: list[tuple[_Turn, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queue.append((_Turn.KNOWN, self.top))

    @property
    def pending(self) -> int:
        """Directories that are known to wait."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        return self.recursive and self.top == self.root

    def push(self, directory: bytes, *, is_known: bool) -> None:
        heapq.heappush(self._queue, (self._turn(directory, is_known), directory))

    def pop(self) -> bytes | None:
        """The next directory to compare, None when all are done."""
        return heapq.heappop(self._queue)[1] if self._queue else None

    def miss(self, stat: Stat, path: bytes) -> None:
        """Note a known file that is not where it was."""
        self.missing += 1
        _note(self.gone, stat, path)

    def find(self, stat: Stat, path: bytes) -> None:
        """Note a file that the store does not know so."""
        _note(self.found, stat, path)

    def explain(self, stat: Stat, old: bytes, new: bytes) -> None:
        """What is missing at one path is what was found at the other."""
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
    """Whether it was there."""
    there = path in paths.get(stat, ())
    if there:
        paths[stat].remove(path)
    return there

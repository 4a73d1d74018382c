"""The contents whose files, relations or facts were written lately: groups of duplicates follow them, without a pass
over all rows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Set
from typing import NamedTuple

from shazimd.types import ContentId

CONTENTS_MAX = 10_000
"""Contents kept, of the latest writes; some 1 MB."""


class RecentContents(NamedTuple):
    number: int
    """of durable writes that changed groups, from the opening on"""
    contents: Set[ContentId] | None
    """None: any content, or too many to be kept"""


class GroupChanges:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[int, Set[ContentId]]] = deque()
        self._number = 0
        self._forgotten = 0
        self._kept = 0

    def add(self, contents: Set[ContentId] | None) -> None:
        """Note the contents of a durable write; None for any content."""
        with self._lock:
            self._number += 1
            if contents is None:
                self._recent.clear()
                self._forgotten, self._kept = self._number, 0
                return
            self._recent.append((self._number, contents))
            self._kept += len(contents)
            while self._kept > CONTENTS_MAX:
                self._forgotten, oldest = self._recent.popleft()
                self._kept -= len(oldest)

    def since(self, number: int) -> RecentContents:
        """The contents of the writes after ``number``."""
        with self._lock:
            if number < self._forgotten:
                return RecentContents(self._number, None)
            later = [contents for at, contents in self._recent if at > number]
            return RecentContents(self._number, frozenset().union(*later))

"""Events of the watchers: paths to look at. Events may be early, repeated or needless; the disk is the truth."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeAlias


class Kind(Enum):
    FILE = "file"
    """look at this path: the file may be new, changed or deleted"""
    TREE = "tree"
    """scan this directory and all below it"""
    MOVED = "moved"
    """``old`` was renamed to ``path``: a file, or a directory with all below it. A FILE or TREE event for ``path``
    follows, but none for ``old``."""


class Stage(Enum):
    """The state of the file in a FILE event; decides how long the debouncer delays the event."""

    OPEN = "open"
    """created, or its attributes changed: a writer may follow"""
    WRITING = "writing"
    """written to: the writer may not be done"""
    CLOSED = "closed"
    """closed after writing, or moved in: complete unless more events follow"""
    AWAY = "away"
    """MOVED_FROM without a MOVED_TO: moved out of the roots, or into a new directory without a watch yet. The debouncer
    delays the event by 1 s and reports GONE, since the scan of the new directory may find the move first."""
    GONE = "gone"
    """deleted"""


class FileEvent(NamedTuple):
    kind: Kind
    path: bytes
    old: bytes | None = None
    stage: Stage = Stage.OPEN


OnFileEvent: TypeAlias = Callable[[FileEvent], None]
"""Puts an event on a queue. Called on the thread that reads inotify events: must not block or raise."""

"""What the watchers say: where to look. A hint may come twice, early or for nothing; the disk is the truth."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeAlias


class Kind(Enum):
    FILE = "file"
    """look at this path: it may have changed, come or gone"""
    TREE = "tree"
    """compare this directory and all below it with the store"""
    MOVED = "moved"
    """``old`` was renamed to ``path``: a file, or a directory with all below it. A FILE or TREE hint for ``path``
    follows, but none for ``old``."""


class Stage(Enum):
    """How far a FILE is; only the debouncer needs it."""

    OPEN = "open"
    """somebody may still be writing"""
    CLOSED = "closed"
    """closed after writing, or moved in: complete unless more comes"""
    AWAY = "away"
    """moved to where nobody watches, or not yet: into a directory that was made a moment ago, it will be found"""
    GONE = "gone"


class FileEvent(NamedTuple):
    kind: Kind
    path: bytes
    old: bytes | None = None
    stage: Stage = Stage.OPEN


OnEvent: TypeAlias = Callable[[FileEvent], None]
"""Takes a hint at once: it is called on the thread that reads events, must not block and must not raise."""

"""Acts on files that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watch_mirror import Mirror

MakeMirror = Callable[..., Mirror]


def write(path: Path) -> None:
    path.write_bytes(b"picture")


def contains(m: Mirror, path: bytes) -> bool:
    return path in m.given_files()

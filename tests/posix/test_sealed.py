"""Pictures on their way to a worker: in memory once, and as they were read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from shazimd.posix.sealed import SealedBytes, read_all

MANY = os.urandom((3 << 20) + 17)


@pytest.mark.parametrize("data", [b"", b"x", MANY], ids=["none", "one", "many"])
def test_they_are_what_they_were_made_of(data: bytes) -> None:
    """By the object and by its descriptor, in one piece and in several."""
    sealed = SealedBytes(data)
    assert (len(data), data, data) == (len(sealed), bytes(sealed), read_all(sealed.fileno()))
    assert data == b"".join(sealed.pieces())


def test_a_file_is_read_in_pieces_that_are_seen_once(tmp_path: Path) -> None:
    """No more than was asked for."""
    (tmp_path / "picture").write_bytes(MANY)
    seen: list[bytes] = []
    with open(tmp_path / "picture", "rb", buffering=0) as file:
        sealed = SealedBytes.read(file, len(MANY) - 5, lambda piece: seen.append(bytes(piece)))
        rest = SealedBytes.read(file, 100, lambda piece: None)
    assert MANY[:-5] == bytes(sealed) == b"".join(seen)
    assert len(seen) > 1
    assert MANY[-5:] == bytes(rest)


def test_nobody_can_change_them() -> None:
    """Neither by a write, nor by a map, nor by another size; the seals stay."""
    sealed = SealedBytes(b"picture")
    for change in (
        lambda: os.write(sealed.fileno(), b"x"),
        lambda: os.pwrite(sealed.fileno(), b"x", 0),
        lambda: os.ftruncate(sealed.fileno(), 1),
        lambda: os.ftruncate(sealed.fileno(), 100),
        lambda: mmap.mmap(sealed.fileno(), 7),
    ):
        with pytest.raises(PermissionError):
            change()
    assert bytes(sealed) == b"picture"


def test_the_descriptor_is_closed_with_the_object() -> None:
    """Memory is given back without a collection of garbage."""
    sealed = SealedBytes(b"picture")
    descriptor = sealed.fileno()
    del sealed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)

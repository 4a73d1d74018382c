"""Bytes in memory of their own that no process can change any more, passed to another process by a descriptor.

A memfd (memfd_create(2)) is a file without a name. Sealed, it can be neither written nor resized, whoever holds its
descriptor. Its pages are there once, for all processes, and are not part of this one's heap.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from typing import Self

_BUFFER_BYTES = 1 << 20
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SealedBytes:
    """The memory is freed with the last descriptor of it: this object's is closed with the object."""

    def __init__(self, data: bytes) -> None:
        """Raises OSError without a free descriptor or memory, as the other ways to make one do."""
        self._descriptor = -1
        self._fill(io.BytesIO(data), len(data), lambda _: None)

    @classmethod
    def read(cls, file: io.RawIOBase, size_max: int, seen: Callable[[memoryview], object]) -> Self:
        """The file's next bytes, at most ``size_max``. ``seen`` gets them in turn, in pieces that are only lent."""
        made = cls.__new__(cls)
        made._descriptor = -1
        made._fill(file, size_max, seen)
        return made

    def _fill(self, file: io.RawIOBase | io.BytesIO, size_max: int, seen: Callable[[memoryview], object]) -> None:
        self._descriptor = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        buffer = memoryview(bytearray(min(size_max, _BUFFER_BYTES)))
        self._size = 0
        while count := file.readinto(buffer[: size_max - self._size]):
            piece = buffer[:count]
            seen(piece)
            while piece:
                piece = piece[os.write(self._descriptor, piece) :]
            self._size += count
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return read_all(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def pieces(self) -> Iterator[bytes]:
        """The bytes, a piece at a time."""
        for start in range(0, self._size, _BUFFER_BYTES):
            yield os.pread(self._descriptor, _BUFFER_BYTES, start)

    def __del__(self) -> None:
        if self._descriptor != -1:
            os.close(self._descriptor)
            self._descriptor = -1


def read_all(descriptor: int) -> bytes:
    """All bytes of a file, by its descriptor alone: neither its stat nor its position is asked for or changed."""
    whole = os.pread(descriptor, os.lseek(descriptor, 0, os.SEEK_END), 0)
    if len(whole) < 0x7FFFF000:  # the most that a single call reads; see read(2)
        return whole
    parts = [whole]
    while part := os.pread(descriptor, 0x7FFFF000, sum(map(len, parts))):
        parts.append(part)
    return b"".join(parts)

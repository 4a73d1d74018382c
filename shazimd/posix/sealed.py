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

_BUFFER_BYTES = 1 << 18
"""A file of 2 MB takes .6 ms less than with a mebibyte: the allocator keeps so much for the next file, and the pieces
stay in the processor's cache between read, digest and write."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class GrowingBytes:
    """Takes bytes piece by piece, until they are sealed."""

    def __init__(self) -> None:
        """Raises OSError without a free descriptor or memory, as ``write`` does."""
        self._descriptor = -1
        self._descriptor = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def write(self, piece: bytes | memoryview) -> None:
        left = memoryview(piece)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._size += len(piece)

    def seal(self) -> int:
        """The descriptor of the bytes, sealed, for the caller to close."""
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def __del__(self) -> None:
        if self._descriptor != -1:
            os.close(self._descriptor)


class SealedBytes:
    """The memory is freed with the last descriptor of it: this object's is closed with the object."""

    def __init__(self, data: bytes | GrowingBytes) -> None:
        """``data`` that has grown is of no use afterwards. Raises OSError without a free descriptor or memory."""
        self._descriptor = -1
        if isinstance(data, bytes):
            growing = GrowingBytes()
            growing.write(data)
            data = growing
        self._size = len(data)
        self._descriptor = data.seal()

    @classmethod
    def read(cls, file: io.RawIOBase, size_max: int, seen: Callable[[memoryview], object]) -> Self:
        """The file's next bytes, at most ``size_max``. ``seen`` gets them in turn, in pieces that are only lent."""
        growing = GrowingBytes()
        buffer = memoryview(bytearray(min(size_max, _BUFFER_BYTES)))
        while count := file.readinto(buffer[: size_max - len(growing)]):
            seen(buffer[:count])
            growing.write(buffer[:count])
        return cls(growing)

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

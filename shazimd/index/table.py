"""Rows that all have the same signals, as columns that grow at their end, each in a file of its own or in memory.

A file is written with ``pwrite`` and read through a mapping: a full disk is then an error of the write, where a store
to a mapping would kill the process. What was written is never changed, so a ``View`` of the first n rows stays right
while more are appended. Only ``alive`` changes, and it is replaced, not written to.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shazimd.index.bounds import COARSE, LEVELS, NUMBERS, Basis
from shazimd.index.exact import Bools, Rows
from shazimd.index.scan import View

OpenFile = Callable[[str], int]
"""Gives the descriptor of a column's file, by the column's name."""


def in_memory(name: str) -> int:
    """A file that lives in memory and goes with its last use."""
    return os.memfd_create(f"shazimd-index-{name}")


class Column:
    """An array [n, ...] that grows at its end."""

    def __init__(self, descriptor: int, dtype: str, shape: tuple[int, ...] = (), count: int = 0) -> None:
        self._descriptor, self._dtype, self._shape = descriptor, np.dtype(dtype), shape
        self.row_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._mapped = np.empty((0, *shape), dtype)
        self.checksum = 0
        """CRC-32 of all rows"""
        self._reserve(count)

    def append(self, start: int, values: NDArray[Any]) -> None:
        """Write rows behind the ``start`` that there are. Raises OSError, and then they don't count."""
        raw = memoryview(np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(raw):
            done += os.pwrite(self._descriptor, raw[done:], start * self.row_bytes + done)
        self._reserve(start + len(values))
        self.checksum = zlib.crc32(raw, self.checksum)

    def view(self, count: int) -> NDArray[Any]:
        """The first ``count`` rows, read-only."""
        return self._mapped[:count]

    def check(self, count: int, checksum: int | None) -> bool:
        """Take over ``count`` rows that were found in the file; False if they are not those with this checksum (None:
        as many bytes are enough)."""
        if os.fstat(self._descriptor).st_size < count * self.row_bytes:
            return False
        self._reserve(count)
        if checksum is not None:
            self.checksum = zlib.crc32(self.view(count).reshape(-1).view(np.uint8).data)
        return checksum in (None, self.checksum)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _reserve(self, count: int) -> None:
        """Map at least ``count`` rows. Pages that were not written to take no disk."""
        if count <= len(self._mapped):
            return
        capacity = max(1024, count + count // 2)
        size = max(capacity * self.row_bytes, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, size)
        mapping = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        capacity = size // self.row_bytes
        self._mapped = np.frombuffer(mapping, self._dtype, capacity * int(np.prod(self._shape))).reshape(
            capacity, *self._shape
        )


class Table:
    """Rows that have the signals ``has``, with what bounds need of them."""

    def __init__(self, has: Bools, basis: Basis, width: int, open_file: OpenFile) -> None:
        self.has, self._basis = has, basis
        kinds: dict[str, tuple[str, tuple[int, ...]]] = {"ids": ("<i8", ()), "ah": ("<u8", ()), "dh": ("<u8", ())}
        if has[2]:
            kinds |= {"coarse": ("<f4", (COARSE + 1,)), "fv": ("<f2", (width,))}
            kinds |= {f"level{level}": ("u1", (NUMBERS + 8,)) for level in range(LEVELS)}
        self.columns = {name: Column(open_file(name), *kind) for name, kind in kinds.items()}
        self._alive = np.ones(1024, np.bool_)
        self.count = 0
        self.view = self._view()
        """all rows, as they are now"""

    def append(self, rows: Rows) -> None:
        """Write rows behind the others. Raises OSError, and then nothing has changed."""
        values: dict[str, NDArray[Any]] = {"ids": rows.ids, "ah": rows.ah, "dh": rows.dh}
        if self.has[2]:
            coarse, levels = self._basis.encode(rows.fv)
            values |= {"coarse": coarse, "fv": rows.fv}
            values |= {f"level{number}": level for number, level in enumerate(levels)}
        before = {name: column.checksum for name, column in self.columns.items()}
        try:
            for name, column in self.columns.items():
                column.append(self.count, values[name])
        except OSError:
            for name, column in self.columns.items():
                column.checksum = before[name]
            raise
        self._grow(self.count + len(rows.ids))

    def kill(self, rows: NDArray[np.intp]) -> None:
        """Mark rows as removed."""
        alive = self._alive.copy()
        alive[rows] = False
        self._alive = alive
        self.view = self._view()

    def check(self, alive: Bools, checksums: dict[str, int | None]) -> bool:
        """Take over the rows that the files hold; False if they are not what was written."""
        if set(checksums) != set(self.columns):
            return False
        if not all(column.check(len(alive), checksums[name]) for name, column in self.columns.items()):
            return False
        self._grow(len(alive))
        self.kill(np.flatnonzero(~alive))
        return True

    def sync(self) -> None:
        """Make the disk hold all that was written. Raises OSError."""
        for column in self.columns.values():
            column.sync()

    def close(self) -> None:
        """Let go of the files; views stay valid."""
        for column in self.columns.values():
            column.close()

    def _grow(self, count: int) -> None:
        if count > len(self._alive):
            alive = np.ones(2 * count, np.bool_)
            alive[: self.count] = self._alive[: self.count]
            self._alive = alive
        self.count = count
        self.view = self._view()

    def _view(self) -> View:
        columns = {name: column.view(self.count) for name, column in self.columns.items()}
        empty = np.empty((self.count, 0))
        return View(
            self.has,
            self._basis,
            self._alive[: self.count],
            columns["ids"],
            columns["ah"],
            columns["dh"],
            columns.get("coarse", empty),
            tuple(columns[f"level{level}"] for level in range(LEVELS)) if self.has[2] else (),
            columns.get("fv", empty),
        )

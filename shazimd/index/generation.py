"""The rows of an index from one rewrite to the next: a table for each set of signals, and the place of each content.

A table has a column of its rows' ids, hashes, bounds and vectors, each in a file of its own. Files are written with
``pwrite`` and read through a mapping: a full disk is then an error of the write, while a store to a mapping would kill
the process. Written rows never change, so a ``TableView`` of the first n rows stays right while more are appended. Only
``alive`` changes, and it is replaced, not written to.
"""

from __future__ import annotations

import itertools
import mmap
import os
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shazimd.index import files
from shazimd.index.bounds import COARSE, LEVELS, NUMBERS, Basis
from shazimd.index.exact import Bools, Ids, Rows
from shazimd.index.files import Folder, Manifest, Stale, TableRecord
from shazimd.index.scan import TableView
from shazimd.text import SIGNALS
from shazimd.types import ContentId

HASH_NAMES = SIGNALS[:-1]

PAGE = 1 << 16
"""Ids grow from 1 without great gaps and fill pages of this size; a stray large id costs one page."""
TABLE_SHIFT = 40
READ_BYTES = 1 << 20


class Generation:
    def __init__(self, basis: Basis, number: int, folder: Folder) -> None:
        self.basis, self.number, self._folder = basis, number, folder
        self.places = Places()
        self._tables: list[Table] = []

    @classmethod
    def load(cls, folder: Folder, manifest: Manifest) -> Generation:
        """The rows of a manifest. Raises Stale when the files do not hold them."""
        generation = cls(folder.read_basis(manifest), manifest.generation, folder)
        try:
            for name, record in manifest.tables.items():
                generation._load_table(name, record, manifest.width or 0)
        except (Stale, OSError) as error:
            generation.close()
            raise Stale(str(error)) from error
        return generation

    @property
    def count(self) -> int:
        """Rows, dead ones included."""
        return sum(table.count for table in self._tables)

    @property
    def vectors(self) -> int:
        """Rows with a vector, dead ones included."""
        return sum(table.count for table in self._tables if table.has[-1])

    def append(self, rows: Rows) -> None:
        """Write rows, each into the table of its signals, and retire the rows they replace. Raises OSError."""
        kinds = rows.has @ (1 << np.arange(rows.has.shape[1]))
        for kind in sorted(set(kinds.tolist())):  # np.unique would cost as much as all the rest for a single row
            same = rows.part(kinds == kind)
            number = self._number_of(same.has[0], rows.fv.shape[1])
            start = self._tables[number].count
            self._tables[number].append(same)
            self.retire(same.ids.tolist())
            self.places.put(same.ids, number, start)

    def retire(self, contents: Collection[ContentId]) -> None:
        """Mark the rows of contents as dead; unknown contents are skipped."""
        dead: dict[int, list[int]] = {}
        for content in contents:
            if place := self.places.get(content):
                dead.setdefault(place[0], []).append(place[1])
                self.places.drop(content)
        for table, rows in dead.items():
            self._tables[table].kill(np.array(rows))

    def views(self) -> tuple[TableView, ...]:
        """A snapshot of all rows."""
        return tuple(table.view for table in self._tables)

    def manifest(self, model: str | None, width: int | None, removals: int) -> Manifest:
        """A record of all rows in the files."""
        tables = {_name(table.has): table.record() for table in self._tables}
        basis = zlib.crc32(files.basis_bytes(self.basis))
        return Manifest(model, width, self.number, removals, self.basis.learned_from, basis, tables)

    def sync(self) -> None:
        """Sync all files to the disk. Raises OSError."""
        self._folder.write_basis(self.number, self.basis)
        for table in self._tables:
            for column in table.columns.values():
                column.sync()

    def close(self) -> None:
        """Close the files; views stay valid."""
        for table in self._tables:
            for column in table.columns.values():
                column.close()

    def discard(self) -> None:
        """Close and remove the files; views stay valid."""
        self.close()
        self._folder.clear(f"{self.number}.")

    def _number_of(self, has: Bools, width: int) -> int:
        """The number of the table of rows with these signals; a missing table is created."""
        for number, table in enumerate(self._tables):
            if (table.has == has).all():
                return number
        self._tables.append(Table(has, self.basis, width, self._folder, f"{self.number}.{_name(has)}"))
        return len(self._tables) - 1

    def _load_table(self, name: str, record: TableRecord, width: int) -> None:
        alive = record.alive()
        number = self._number_of(np.array([signal in name.split("+") for signal in SIGNALS]), width)
        if not self._tables[number].load(alive, record.checksums):
            raise Stale(f"the files of {name} do not hold the {record.count} rows that were written")
        self.places.put(self._tables[number].view.ids, number, 0, alive)


class Table:
    """Rows that have the signals ``has``."""

    def __init__(self, has: Bools, basis: Basis, width: int, folder: Folder, prefix: str) -> None:
        self.has, self._basis = has, basis
        kinds: dict[str, tuple[str, tuple[int, ...]]] = {"ids": ("<i8", ()), **dict.fromkeys(HASH_NAMES, ("<u8", ()))}
        if has[-1]:
            kinds |= {"coarse": ("<f4", (COARSE + 1,)), "fv": ("<f2", (width,))}
            kinds |= {f"level{level}": ("u1", (NUMBERS + 8,)) for level in range(LEVELS)}
        self.columns = {name: Column(folder.open_file(f"{prefix}.{name}"), *kind) for name, kind in kinds.items()}
        self._alive = np.ones(1024, np.bool_)
        self.count = 0
        self.view = self._view()
        """a snapshot of all rows"""

    def append(self, rows: Rows) -> None:
        """Write rows behind the others. Raises OSError, and then nothing has changed."""
        values: dict[str, NDArray[Any]] = {"ids": rows.ids, **dict(zip(HASH_NAMES, rows.hashes, strict=True))}
        if self.has[-1]:
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
        """Mark rows as dead."""
        alive = self._alive.copy()
        alive[rows] = False
        self._alive = alive
        self.view = self._view()

    def load(self, alive: Bools, checksums: dict[str, int | None]) -> bool:
        """Use the rows in the files; False if they differ from the checksums."""
        if set(checksums) != set(self.columns):
            return False
        if not all(column.load(len(alive), checksums[name]) for name, column in self.columns.items()):
            return False
        self._grow(len(alive))
        self.kill(np.flatnonzero(~alive))
        return True

    def record(self) -> TableRecord:
        checksums = {name: None if name == "fv" else column.checksum for name, column in self.columns.items()}
        return TableRecord(self.count, files.pack_dead(self.view.alive), checksums)

    def _grow(self, count: int) -> None:
        if count > len(self._alive):
            alive = np.ones(2 * count, np.bool_)
            alive[: self.count] = self._alive[: self.count]
            self._alive = alive
        self.count = count
        self.view = self._view()

    def _view(self) -> TableView:
        columns = {name: column.view(self.count) for name, column in self.columns.items()}
        hashes, empty = tuple(columns[name] for name in HASH_NAMES), np.empty((self.count, 0))
        levels = tuple(columns[f"level{level}"] for level in range(LEVELS)) if self.has[-1] else ()
        coarse, fv = columns.get("coarse", empty), columns.get("fv", empty)
        return TableView(self.has, self._basis, self._alive[: self.count], columns["ids"], hashes, coarse, levels, fv)


class Column:
    """An array [n, ...] in a file that grows at its end."""

    def __init__(self, descriptor: int, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self._descriptor, self._dtype, self._shape = descriptor, np.dtype(dtype), shape
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._mapped = np.empty((0, *shape), dtype)
        self.checksum = 0
        """CRC-32 of all rows"""
        self._reserve(0)

    def append(self, start: int, values: NDArray[Any]) -> None:
        """Write rows behind the first ``start`` rows. Raises OSError, and then the new rows don't count."""
        raw = memoryview(np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(raw):
            done += os.pwrite(self._descriptor, raw[done:], start * self._row_bytes + done)
        self._reserve(start + len(values))
        self.checksum = zlib.crc32(raw, self.checksum)

    def view(self, count: int) -> NDArray[Any]:
        """The first ``count`` rows, read-only."""
        return self._mapped[:count]

    def load(self, count: int, checksum: int | None) -> bool:
        """Use ``count`` rows in the file; False if the checksum differs (None: only the size is checked). Raises
        OSError."""
        if os.fstat(self._descriptor).st_size < count * self._row_bytes:
            return False
        self._reserve(count)
        if checksum is not None:
            self.checksum = self._checksum(count * self._row_bytes)
        return checksum in (None, self.checksum)

    def _checksum(self, size: int) -> int:
        """By reads: in the mapping, a page that the disk can't read would end the process by SIGBUS."""
        checksum = 0
        for start in range(0, size, READ_BYTES):
            checksum = zlib.crc32(os.pread(self._descriptor, min(READ_BYTES, size - start), start), checksum)
        return checksum

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _reserve(self, count: int) -> None:
        """Map at least ``count`` rows. Unwritten pages take no disk."""
        if count <= len(self._mapped):
            return
        capacity = max(1024, count + count // 2)
        size = max(capacity * self._row_bytes, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, size)
        mapping = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        capacity = size // self._row_bytes
        self._mapped = np.frombuffer(mapping, self._dtype, capacity * int(np.prod(self._shape))).reshape(
            capacity, *self._shape
        )


class Places:
    """id -> (number of a table, row in the table): 8 bytes an id, against over 100 in a dict of a million."""

    def __init__(self) -> None:
        self._pages: dict[int, NDArray[np.int64]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, content: ContentId) -> tuple[int, int] | None:
        page = self._pages.get(content // PAGE)
        place = -1 if page is None else int(page[content % PAGE])
        return None if place < 0 else (place >> TABLE_SHIFT, place & ((1 << TABLE_SHIFT) - 1))

    def put(self, contents: Ids, table: int, start: int, which: Bools | None = None) -> None:
        """Record contents (or ``which`` of them) in the rows of a table from ``start`` on."""
        places = np.arange(start, start + len(contents)) | (table << TABLE_SHIFT)
        if which is not None:
            contents, places = contents[which], places[which]
        pages = contents // PAGE
        for number in set(pages.tolist()):
            inside = pages == number
            if (page := self._pages.get(number)) is None:
                page = self._pages[number] = np.full(PAGE, -1, np.int64)
            offsets = contents[inside] % PAGE
            self._count += int(np.count_nonzero(page[offsets] < 0))
            page[offsets] = places[inside]

    def drop(self, content: ContentId) -> None:
        """Remove a known content."""
        self._pages[content // PAGE][content % PAGE] = -1
        self._count -= 1


def _name(has: Bools) -> str:
    return "+".join(itertools.compress(SIGNALS, has)) or "none"

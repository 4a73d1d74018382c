"""The rows of an index from one rewrite to the next: a table for each set of signals, and where each content lies."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Collection

import numpy as np

from shazimd.index import exact, manifest
from shazimd.index.bounds import Basis
from shazimd.index.exact import Bools
from shazimd.index.folder import Folder
from shazimd.index.manifest import Manifest, Stale, TableRecord
from shazimd.index.places import Places
from shazimd.index.scan import View
from shazimd.index.table import Table, in_memory
from shazimd.posix.files import atomic_write
from shazimd.types import ContentId

SIGNALS = ("ah", "dh", "fv")


class Generation:
    """In a folder, or in memory (None)."""

    def __init__(self, basis: Basis, number: int, folder: Folder | None) -> None:
        self.basis, self.number, self._folder = basis, number, folder
        self.places = Places()
        self._tables: list[Table] = []

    @classmethod
    def load(cls, folder: Folder, record: Manifest) -> Generation:
        """The rows that a manifest tells of. Raises Stale when the files do not hold them."""
        basis = manifest.read_basis(folder.file(f"{record.generation}.basis"), record)
        generation = cls(basis, record.generation, folder)
        try:
            for name, one in record.tables.items():
                generation._load_table(name, one, record.width or 0)
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
        return sum(table.count for table in self._tables if table.has[2])

    def append(self, rows: exact.Rows) -> None:
        """Write rows, each into the table of its signals, and retire those they replace. Raises OSError."""
        for has in np.unique(rows.has, axis=0):
            same = rows.part((rows.has == has).all(axis=1))
            number = self._number_of(has, rows.fv.shape[1])
            start = self._tables[number].count
            self._tables[number].append(same)
            self.retire(same.ids.tolist())
            self.places.put(same.ids, number, start)

    def retire(self, contents: Collection[ContentId]) -> None:
        """Forget contents; unknown ones are passed over."""
        dead: dict[int, list[int]] = {}
        for content in contents:
            if place := self.places.get(content):
                dead.setdefault(place[0], []).append(place[1])
                self.places.drop(content)
        for table, rows in dead.items():
            self._tables[table].kill(np.array(rows))

    def views(self) -> tuple[View, ...]:
        """All rows as they are now."""
        return tuple(table.view for table in self._tables)

    def record(self, model: str | None, width: int | None, removals: int) -> Manifest:
        """What the files hold now."""
        tables = {_name(table.has): _record(table) for table in self._tables}
        basis = zlib.crc32(manifest.basis_bytes(self.basis))
        return Manifest(model, width, self.number, removals, self.basis.learned_from, basis, tables)

    def sync(self) -> None:
        """Make the disk hold all that was written. Raises OSError."""
        assert self._folder is not None
        atomic_write(self._folder.file(f"{self.number}.basis"), manifest.basis_bytes(self.basis))
        for table in self._tables:
            table.sync()

    def close(self) -> None:
        """Let go of the files; views stay valid."""
        for table in self._tables:
            table.close()

    def discard(self) -> None:
        """Close and remove the files; views stay valid."""
        self.close()
        if self._folder is not None:
            self._folder.clear(f"{self.number}.")

    def _number_of(self, has: Bools, width: int) -> int:
        """The table of rows with these signals, made where missing."""
        for number, table in enumerate(self._tables):
            if (table.has == has).all():
                return number
        name = _name(has)
        self._tables.append(Table(has, self.basis, width, lambda column: self._open(f"{name}.{column}")))
        return len(self._tables) - 1

    def _load_table(self, name: str, record: TableRecord, width: int) -> None:
        alive = record.alive()
        number = self._number_of(np.array([signal in name.split("+") for signal in SIGNALS]), width)
        if not self._tables[number].check(alive, record.checksums):
            raise Stale(f"the files of {name} do not hold the {record.count} rows that were written")
        self.places.put(self._tables[number].view.ids, number, 0, alive)

    def _open(self, name: str) -> int:
        return in_memory(name) if self._folder is None else self._folder.open_file(f"{self.number}.{name}")


def _name(has: Bools) -> str:
    return "+".join(itertools.compress(SIGNALS, has)) or "none"


def _record(table: Table) -> TableRecord:
    checksums = {name: None if name == "fv" else column.checksum for name, column in table.columns.items()}
    return TableRecord(table.count, manifest.packed(table.view.alive), checksums)

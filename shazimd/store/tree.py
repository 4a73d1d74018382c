"""The tree of known directories: names to numbers and back. See ``keys`` for the idea."""

from __future__ import annotations

from collections.abc import Iterator

from shazimd.errors import StoreDamaged
from shazimd.store import keys
from shazimd.store.keys import ROOT, number, parse_number
from shazimd.store.schema import Tables, Transaction, scan


class Tree:
    """The tree as one transaction sees it. A directory stands here only while it has something in it."""

    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn = txn
        self._t = tables

    def find(self, names: list[bytes]) -> int | None:
        """The number of the directory with this path, None when unknown."""
        directory = ROOT
        for name in names:
            found = self.child(directory, name)
            if found is None:
                return None
            directory = found
        return directory

    def child(self, directory: int, name: bytes) -> int | None:
        """The number of a directory in a directory, None when unknown."""
        raw = self._txn.get(number(directory) + name, db=self._t.directories)
        return None if raw is None else parse_number(raw)

    def children(self, directory: int) -> Iterator[tuple[bytes, int]]:
        """The directories in a directory as (name, number), by name."""
        for key, raw in scan(self._txn, self._t.directories, number(directory)):
            yield key[keys.NUMBER_BYTES :], parse_number(raw)

    def place(self, directory: int) -> tuple[int, bytes]:
        """The parent of a directory, and its name there."""
        raw = self._txn.get(number(directory), db=self._t.directory_names)
        if raw is None:
            raise StoreDamaged(f"directory number {directory} has no name, expected one")
        return parse_number(raw), raw[keys.NUMBER_BYTES :]

    def path(self, directory: int) -> bytes:
        """The path of a directory."""
        names: list[bytes] = []
        while directory != ROOT:
            directory, name = self.place(directory)
            names.append(name)
        return b"/" + b"/".join(reversed(names))

    def is_empty(self, directory: int) -> bool:
        """Whether neither files nor directories are known in a directory."""
        prefix = number(directory)
        return not any(any(scan(self._txn, table, prefix)) for table in (self._t.files, self._t.directories))

    def attach(self, directory: int, parent: int, name: bytes) -> None:
        """Put a directory, new or detached before, at its place."""
        self._txn.put(number(parent) + name, number(directory), db=self._t.directories)
        self._txn.put(number(directory), number(parent) + name, db=self._t.directory_names)

    def detach(self, directory: int) -> int:
        """Take a directory with all below it out of its place; the number of its parent. The root stays."""
        if directory == ROOT:
            return ROOT
        parent, name = self.place(directory)
        self._txn.delete(number(parent) + name, db=self._t.directories)
        self._txn.delete(number(directory), db=self._t.directory_names)
        return parent

    def remove_empty(self, directory: int) -> None:
        """Forget a directory if nothing is left in it, then the one above, and so on."""
        while directory != ROOT and self.is_empty(directory):
            directory = self.detach(directory)

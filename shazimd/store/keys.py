"""Keys: how a path of any length becomes keys of at most 511 bytes, LMDB's limit.

A path of 4096 bytes is too long for a key, a name of 255 is not. So directories are numbered, and a name is looked up
in its directory, as in a file system:

    /srv/p/ski.jpg   ->   (0, "srv") = 7      (7, "p") = 9      file (9, "ski.jpg")

One scan by prefix then lists a directory, and a rename of a directory changes two rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from shazimd.errors import StoreDamaged
from shazimd.store.tables import NUMBER_BYTES, Tables, Transaction, get, has_rows, number, parse_number, put, scan

ROOT = 0
"""The number of the directory "/"."""

NAME_BYTES_MAX = 495
"""The longest key with a name is (content, directory, name). Linux itself keeps to 255; vfat and NTFS, with 255 UTF-16
units, reach further."""


def split(path: bytes) -> list[bytes]:
    """The names in an absolute, normalised path; none for "/". Raises ValueError for any other path.

    >>> split(b"/srv/p")
    [b'srv', b'p']
    """
    if path == b"/":
        return []
    names = path.split(b"/")
    if names.pop(0) or not all(map(_is_name, names)):
        raise ValueError(
            f"path is {path!r}, expected an absolute, normalised path with names of at most {NAME_BYTES_MAX} bytes"
        )
    return names


def split_file(path: bytes) -> tuple[list[bytes], bytes]:
    """The names of the directories above a file, and the file's own. Raises ValueError, also for "/"."""
    *directories, name = split(path) or [b""]
    if not name:
        raise ValueError("path is b'/', expected the path of a file")
    return directories, name


def join(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory.

    >>> join(b"/", b"srv"), join(b"/srv", b"p")
    (b'/srv', b'/srv/p')
    """
    return b"/" + name if directory == b"/" else directory + b"/" + name


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= NAME_BYTES_MAX and name not in (b".", b"..") and b"\0" not in name


class Tree:
    """The tree of known directories in one transaction. A directory has a row only while something is in it."""

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
        raw = get(self._txn, self._t.directories, number(directory) + name)
        return None if raw is None else parse_number(raw)

    def children(self, directory: int) -> Iterator[tuple[bytes, int]]:
        """The directories in a directory as (name, number), by name."""
        for key, raw in scan(self._txn, self._t.directories, number(directory)):
            yield key[NUMBER_BYTES:], parse_number(raw)

    def path(self, directory: int) -> bytes:
        """The path of a directory."""
        names: list[bytes] = []
        while directory != ROOT:
            directory, name = self._place(directory)
            names.append(name)
        return b"/" + b"/".join(reversed(names))

    def is_empty(self, directory: int) -> bool:
        """True if neither files nor directories are known in a directory."""
        prefix = number(directory)
        return not any(has_rows(self._txn, table, prefix) for table in (self._t.files, self._t.directories))

    def attach(self, directory: int, parent: int, name: bytes) -> None:
        """Put a new or detached directory into its parent."""
        put(self._txn, self._t.directories, number(parent) + name, number(directory))
        put(self._txn, self._t.directory_names, number(directory), number(parent) + name)

    def detach(self, directory: int) -> int:
        """Take a directory with its subtree out of its parent; the number of the parent. The root stays."""
        if directory == ROOT:
            return ROOT
        parent, name = self._place(directory)
        self._txn.delete(number(parent) + name, db=self._t.directories)
        self._txn.delete(number(directory), db=self._t.directory_names)
        return parent

    def remove_empty(self, directory: int) -> None:
        """Remove a directory if it is empty, then its parent, and upwards."""
        while directory != ROOT and self.is_empty(directory):
            directory = self.detach(directory)

    def _place(self, directory: int) -> tuple[int, bytes]:
        """The parent of a directory, and its name there."""
        raw = get(self._txn, self._t.directory_names, number(directory))
        if raw is None:
            raise StoreDamaged(f"directory number {directory} has no name, expected one")
        return parse_number(raw), raw[NUMBER_BYTES:]

"""Keys: how a path of any length becomes keys of at most 511 bytes, LMDB's limit.

A path of 4096 bytes is too long for a key, a name of 255 is not. So directories are numbered, and a name is looked up
in its directory, as in a file system:

    /srv/p/ski.jpg   ->   (0, "srv") = 7      (7, "p") = 9      file (9, "ski.jpg")

One scan by prefix then lists a directory, and a rename of a directory changes two rows.

A file of another host has a path like ``nas:/srv/p/ski.jpg``. Its directories are in the same tables with numbers from
FOREIGN on, so the files of this host come first wherever files are listed by directory:

    nas:/srv/ski.jpg   ->   (FOREIGN, "nas:/") = FOREIGN + 8      (FOREIGN + 8, "srv") = FOREIGN + 9      ...
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from functools import lru_cache

from shazimd.errors import StoreDamaged
from shazimd.store.tables import NUMBER_BYTES, Tables, Transaction, get, has_rows, number, parse_number, put, scan
from shazimd.text import NAME_BYTES_MAX

ROOT = 0
"""The number of the directory "/"."""
FOREIGN = 1 << 63
"""The number of the directory that has the hosts' roots in it; directories below have greater numbers."""
_FOREIGN_BEGIN = FOREIGN >> 56
"""The first byte of such a number."""
_HOST_ROOT = re.compile(rb"[a-z0-9][a-z0-9.-]{0,62}:/")
"""No name in a directory has a slash: a host's root is none of them."""

TOPS = (ROOT, FOREIGN)
"""Directories that are in no other."""


def split(path: bytes) -> list[bytes]:
    """The names in an absolute, normalised path; none for "/". Raises ValueError for any other path.

    >>> split(b"/srv/p"), split(b"nas:/srv")
    ([b'srv', b'p'], [b'nas:/', b'srv'])
    """
    host = b"" if path.startswith(b"/") else root_of(path)
    below = path.removeprefix(host or b"/")
    names = below.split(b"/") if below else []
    if not (host or path.startswith(b"/")) or not all(map(_is_name, names)):
        raise ValueError(
            f"path is {path!r}, expected an absolute, normalised path with names of at most {NAME_BYTES_MAX} bytes"
        )
    return [host, *names] if host else names


def root_of(path: bytes) -> bytes:
    """The root of the host that a path names, such as ``nas:/``; empty for a path of this host."""
    found = _HOST_ROOT.match(path)
    return found[0] if found else b""


def split_file(path: bytes) -> tuple[list[bytes], bytes]:
    """The names of the directories above a file, and the file's own. Raises ValueError, also for "/"."""
    above, slash, name = path.rpartition(b"/")
    if slash and not above.endswith(b"/") and _is_name(name):
        names = _split_or_none(above if b"/" in above else above + b"/")
        if names is not None:
            return [*names], name
    split(path)  # names the fault
    raise ValueError(f"path is {path!r}, expected the path of a file")


@lru_cache(64)
def _split_or_none(directory: bytes) -> tuple[bytes, ...] | None:
    """``split``, or None for a bad path. Many files that are written together are in the same few directories."""
    try:
        return tuple(split(directory))
    except ValueError:
        return None


def join(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory.

    >>> join(b"/", b"srv"), join(b"/srv", b"p")
    (b'/srv', b'/srv/p')
    """
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def is_foreign_key(key: bytes) -> bool:
    """Whether a key begins with a directory of another host."""
    return len(key) >= NUMBER_BYTES and key[0] >= _FOREIGN_BEGIN


def joined(names: list[bytes]) -> bytes:
    """The path of these names, as ``split`` gives them."""
    return names[0] + b"/".join(names[1:]) if is_below_host(names) else b"/" + b"/".join(names)


def is_below_host(names: list[bytes]) -> bool:
    """Whether the names begin with a host's root."""
    return bool(names) and names[0].endswith(b"/")


def _is_name(name: bytes) -> bool:
    """The longest key with a name is (content, directory, name)."""
    return 0 < len(name) <= NAME_BYTES_MAX and name not in (b".", b"..") and b"\0" not in name


class Tree:
    """The tree of known directories in one transaction. A directory has a row only while something is in it."""

    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn = txn
        self._t = tables
        self._found: dict[tuple[bytes, ...], int] = {}
        """directories by their names, until one is detached: many files of a batch are in one directory"""

    def find(self, names: list[bytes]) -> int | None:
        """The number of the directory with this path, None when unknown."""
        whole = tuple(names)
        if (known := self._found.get(whole)) is not None:
            return known
        if len(names) > 1 and (parent := self._found.get(whole[:-1])) is not None:
            return self.child(parent, names[-1])
        directory = FOREIGN if is_below_host(names) else ROOT
        for name in names:
            found = self.child(directory, name)
            if found is None:
                return None
            directory = found
        self._found[whole] = directory
        return directory

    def child(self, directory: int, name: bytes) -> int | None:
        """The number of a directory in a directory, None when unknown."""
        raw = get(self._txn, self._t.directories, number(directory) + name)
        return None if raw is None else parse_number(raw)

    def children(self, directory: int) -> Iterator[tuple[bytes, int]]:
        """The directories in a directory as (name, number), by name."""
        for key, raw in scan(self._txn, self._t.directories, number(directory)):
            yield key[NUMBER_BYTES:], parse_number(raw)

    def below(self, directory: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, int, bytes]]:
        """A directory and its subtree as (path, number, name), parents first; with ``after``, those with files after
        this one, in the first of them from the name on. Paths may be too deep for recursion."""
        found = self.find(split(directory))
        waiting = [] if found is None else [(directory, found, b"")]
        if after is not None:
            waiting = self._below_after(directory, after)
        while waiting:
            path, at, name = waiting.pop()
            yield path, at, name
            below = [(join(path, each), child, b"") for each, child in self.children(at)]
            waiting.extend(reversed(below))

    def _below_after(self, directory: bytes, after: bytes) -> list[tuple[bytes, int, bytes]]:
        """The directories that a walk has still to visit after a file, the next last."""
        names, name = split_file(after)
        waiting: list[tuple[bytes, int, bytes]] = []
        for component in names[len(split(directory)) :]:
            at = self.find(split(directory))
            later = [] if at is None else [each for each in self.children(at) if each[0] > component]
            waiting.extend((join(directory, each), child, b"") for each, child in reversed(later))
            directory = join(directory, component)
        found = self.find(split(directory))
        return waiting if found is None else [*waiting, (directory, found, name)]

    def path(self, directory: int) -> bytes:
        """The path of a directory."""
        names: list[bytes] = []
        while directory not in TOPS:
            directory, name = self._place(directory)
            names.append(name)
        return joined(names[::-1])

    def is_below(self, directory: int, tops: Container[int]) -> bool:
        """Whether a directory is one of these, or in the subtree of any."""
        while directory not in tops:
            if directory in TOPS:
                return False
            directory, _ = self._place(directory)
        return True

    def is_empty(self, directory: int) -> bool:
        """True if neither files nor directories are known in a directory."""
        prefix = number(directory)
        return not any(has_rows(self._txn, table, prefix) for table in (self._t.files, self._t.directories))

    def attach(self, directory: int, parent: int, name: bytes) -> None:
        """Put a new or detached directory into its parent."""
        put(self._txn, self._t.directories, number(parent) + name, number(directory))
        put(self._txn, self._t.directory_names, number(directory), number(parent) + name)

    def detach(self, directory: int) -> int:
        """Take a directory with its subtree out of its parent; the number of the parent. The tops stay."""
        if directory in TOPS:
            return directory
        self._found.clear()
        parent, name = self._place(directory)
        self._txn.delete(number(parent) + name, db=self._t.directories)
        self._txn.delete(number(directory), db=self._t.directory_names)
        return parent

    def remove_empty(self, directory: int) -> None:
        """Remove a directory if it is empty, then its parent, and upwards."""
        while directory not in TOPS and self.is_empty(directory):
            directory = self.detach(directory)

    def _place(self, directory: int) -> tuple[int, bytes]:
        """The parent of a directory, and its name there."""
        raw = get(self._txn, self._t.directory_names, number(directory))
        if raw is None:
            raise StoreDamaged(f"directory number {directory} has no name, expected one")
        return parse_number(raw), raw[NUMBER_BYTES:]

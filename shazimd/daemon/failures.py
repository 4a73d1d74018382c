"""The files that could not be read or decoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from shazimd.store.base import Reader, Store
from shazimd.types import FileRow, FileState

BATCH = 256
"""Rows read in a transaction."""


def failed_files(store: Store, under: bytes = b"/") -> Iterator[tuple[bytes, FileRow]]:
    """The failed files below a directory, in the order of the tree, or the failed file with this path. Reads a row for
    each file, if any failed."""
    with store.read() as reader:
        if not reader.counts()["failed"]:
            return
        paths = [path for path, row in reader.walk(under) if row.state is FileState.FAILED]
        if under != b"/" and _failed(reader, under) is not None:
            paths.append(under)
    waiting = iter(paths)
    while batch := list(islice(waiting, BATCH)):
        with store.read() as reader:
            rows = [(path, row) for path in batch if (row := _failed(reader, path)) is not None]
        yield from rows


def _failed(reader: Reader, path: bytes) -> FileRow | None:
    row = reader.file(path)
    return row if row is not None and row.state is FileState.FAILED else None

"""LMDB in the store's terms: its errors, the tables, and their rows, with checksums, scans by prefix, values in pieces.

Each value ends with a CRC-32 of its key and itself, compared at every read: LMDB sees damage to its pages, but no bit
that flipped in a row. A large value has one checksum, in its last piece. All rows are written and read by the functions
here.

LMDB keeps a value of more than about 2000 bytes on pages of its own: 5 KB take 8, a vector of 2560 bytes takes 4096.
Cut into pieces, three to a page of 4096 bytes, large values fill their pages. The key of a piece is the key of the
value and the position of the piece, 2 bytes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice, takewhile
from typing import NamedTuple, TypeAlias
from zlib import crc32

import lmdb

from shazimd.errors import StoreDamaged, StoreError, StoreFull

Table: TypeAlias = "lmdb._Database"
Transaction: TypeAlias = "lmdb.Transaction[bytes]"

SCHEMA = 8
"""The version of the tables. Grows with every change that older code would misread."""
TABLES_MAX = 32
NUMBER_BYTES = 8
MODEL_BYTES = 2
"""of the number of a model in the keys of its vectors"""
CHECKSUM_BYTES = 4
_RESIDUE = 0x2144DF1C
"""CRC-32 of any bytes with their own CRC-32 behind them: a comparison without slices, 0.2 us a row"""
PIECE_BYTES = 1338
"""(4096 - 16) / 3 is 1360 for a row, less 10 for LMDB and 12 for the longest key"""
_POSITION_BYTES = 2

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_FULL_BYTES = 1 << 20
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


class Tables(NamedTuple):
    """Handles of the tables. Each has its field's name in LMDB. FORMAT.md describes the rows."""

    numbers: Table
    directories: Table
    directory_names: Table
    files: Table
    contents: Table
    digests: Table
    pixels: Table
    holders: Table
    deleted: Table
    deletions: Table
    features: Table
    models: Table
    vectors: Table
    removals: Table
    alerts: Table
    pending_alerts: Table
    values: Table
    relations: Table
    unrelated: Table
    facts: Table
    decisions: Table
    decided: Table
    changes: Table
    changed: Table


def create_tables(env: lmdb.Environment) -> None:
    """Make an empty store of a new environment."""
    with env.begin(write=True) as txn:
        tables = Tables(*(env.open_db(name.encode(), txn=txn) for name in Tables._fields))
        put(txn, tables.numbers, b"schema", number(SCHEMA))


LARGE = ("features", "vectors")
"""Tables with their values in pieces."""


def number(n: int) -> bytes:
    """A number as a key: 8 bytes, most significant first, so that the order of keys is the order of numbers.

    >>> number(258)
    b'\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x02'
    """
    return n.to_bytes(NUMBER_BYTES, "big")


def parse_number(key: bytes) -> int:
    """The number at the beginning of a key."""
    return int.from_bytes(key[:NUMBER_BYTES], "big")


def checksum(key: bytes, value: bytes) -> bytes:
    """The last bytes of a stored value: CRC-32 (zlib) of the key, then the value, least significant byte first."""
    return crc32(value, crc32(key)).to_bytes(CHECKSUM_BYTES, "little")


def is_sealed(key: bytes, stored: bytes) -> bool:
    """Whether a stored value agrees with its checksum."""
    return crc32(stored, crc32(key)) == _RESIDUE


def unsealed(key: bytes, stored: bytes) -> bytes:
    """A value without its checksum. Raises StoreDamaged when they do not agree."""
    if crc32(stored, crc32(key)) != _RESIDUE:
        raise StoreDamaged(
            f"the row {key!r} differs from its checksum, expected it as it was written; "
            "shazimctl store check names what is damaged"
        )
    return stored[:-CHECKSUM_BYTES]


def derived(key: bytes, stored: bytes | None, content: int, note_damage: Callable[[int], object] | None) -> bytes:
    """A value derived from a content's picture, without its checksum; empty for no row, and for a damaged one if
    ``note_damage`` is given, which is called with the content then. Raises StoreDamaged without it."""
    try:
        return unsealed(key, stored) if stored else b""
    except StoreDamaged:
        if note_damage is None:
            raise
    note_damage(content)
    return b""


def get(txn: Transaction, table: Table, key: bytes) -> bytes | None:
    """The value of a row, None when missing. Raises StoreDamaged."""
    stored = get_stored(txn, table, key)
    return None if stored is None else unsealed(key, stored)


def get_stored(txn: Transaction, table: Table, key: bytes) -> bytes | None:
    """The value of a row with its checksum, unchecked; None when missing."""
    return txn.get(key, db=table)


def get_number(txn: Transaction, tables: Tables, name: bytes) -> int:
    """A row of ``numbers``, 0 when missing. Raises StoreDamaged."""
    return parse_number(get(txn, tables.numbers, name) or number(0))


def put(txn: Transaction, table: Table, key: bytes, value: bytes, *, append: bool = False) -> None:
    """Write a row in place of any other. ``append``: the key is greater than all others."""
    txn.put(key, value + checksum(key, value), db=table, append=append)


def put_rows(txn: Transaction, table: Table, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Write rows, each in place of any other, in order of key."""
    put_sealed(txn, table, sorted((key, value + checksum(key, value)) for key, value in rows))


def put_sealed(txn: Transaction, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
    """Write rows that have their checksums, in order of key."""
    if not rows:
        return
    with txn.cursor(table) as cursor:
        is_last = not cursor.last() or cursor.key() < rows[0][0]  # appending fills pages; other inserts halve them
        cursor.putmulti(rows, append=is_last)


def present(txn: Transaction, table: Table, wanted: Iterable[bytes]) -> dict[bytes, bytes]:
    """Those of these keys that have a row, with the bytes as they are stored, and unchecked."""
    with txn.cursor(table) as cursor:
        return dict(cursor.getmulti(sorted(wanted)))


def pop(txn: Transaction, table: Table, key: bytes) -> bytes | None:
    """Remove a row; its value, None when missing. Raises StoreDamaged."""
    stored = txn.pop(key, db=table)
    return None if stored is None else unsealed(key, stored)


def scan(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The rows whose key begins with ``prefix``, from ``start`` on, in order of key. Raises StoreDamaged."""
    for key, stored in raw_rows(txn, table, prefix, start):
        yield key, unsealed(key, stored)


def raw_rows(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """As ``scan``, with the bytes as they are stored, and unchecked; for large values, their pieces."""
    with txn.cursor(table) as cursor:
        if not cursor.set_range(max(prefix, start)):
            return
        for key, stored in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, stored


def keys_between(txn: Transaction, table: Table, start: bytes, end: bytes, limit: int | None = None) -> list[bytes]:
    """The keys from ``start`` on and before ``end``, at most ``limit``, in order: without a step in Python for each."""
    with txn.cursor(table) as cursor:
        if not cursor.set_range(start):
            return []
        return list(islice(takewhile(end.__gt__, cursor.iternext(values=False)), limit))


def has_rows(txn: Transaction, table: Table, prefix: bytes) -> bool:
    """Whether any key begins with ``prefix``."""
    with txn.cursor(table) as cursor:
        return bool(cursor.set_range(prefix)) and cursor.key().startswith(prefix)


def delete_all(txn: Transaction, table: Table, prefix: bytes) -> None:
    """Remove every row whose key begins with ``prefix``."""
    with txn.cursor(table) as cursor:
        found = cursor.set_range(prefix)
        while found and cursor.key().startswith(prefix):
            cursor.delete()
            found = bool(cursor.key())


def put_pieces(txn: Transaction, table: Table, key: bytes, value: bytes) -> None:
    """Store a large value under a key without one. An empty value makes no row."""
    put_large_rows(txn, table, [(key, value)])


def put_large_rows(txn: Transaction, table: Table, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """As ``put_pieces`` for values in order of key."""
    put_sealed(txn, table, [piece for row in rows for piece in pieces(*row)])


def pieces(key: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    """The rows of a large value; none for an empty value."""
    stored = value + checksum(key, value) if value else b""
    starts = range(0, len(stored), PIECE_BYTES)
    return [(piece_key(key, at), stored[start : start + PIECE_BYTES]) for at, start in enumerate(starts)]


def get_pieces(txn: Transaction, table: Table, key: bytes) -> bytes:
    """A large value; empty without a row. Raises StoreDamaged."""
    stored = stored_pieces(txn, table, key)
    return unsealed(key, stored) if stored else b""


def stored_pieces(txn: Transaction, table: Table, key: bytes) -> bytes:
    """A large value with its checksum, unchecked; empty without a row."""
    return b"".join(piece for _, piece in raw_rows(txn, table, key))


def scan_pieces(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The large values whose key begins with ``prefix``, from ``start`` on, as (key, value) in order of key. Raises
    StoreDamaged."""
    for key, stored in joined(raw_rows(txn, table, prefix, start)):
        yield key, unsealed(key, stored)


def joined(pieces: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Large values as they are stored, with their keys, from the rows of their pieces."""
    for key, rows in groupby(pieces, lambda row: row[0][:-_POSITION_BYTES]):
        yield key, b"".join(piece for _, piece in rows)


def piece_key(key: bytes, position: int) -> bytes:
    """The key of a piece of a large value."""
    return key + position.to_bytes(_POSITION_BYTES, "big")


@contextmanager
def lmdb_errors(path: str) -> Iterator[None]:
    """Turn LMDB's errors about the store at ``path`` into StoreError, with the cause. OSError passes: the caller's own
    work runs inside."""
    try:
        yield
    except lmdb.Error as error:
        raise _from_lmdb(path, error) from error


@contextmanager
def foreign_errors(path: str) -> Iterator[None]:
    """Turn errors of LMDB and of the file system into StoreError."""
    try:
        with lmdb_errors(path):
            yield
    except OSError as error:
        raise _from_system(path, error) from error


def _from_lmdb(path: str, error: lmdb.Error) -> StoreError:
    if isinstance(error, _DAMAGED):
        return StoreDamaged(f"store {path}: found damage, expected an intact LMDB file: {error}")
    if error.code == errno.EIO and _is_full(path):  # LMDB reports a short write as EIO
        return _cannot_write(path, errno.ENOSPC)
    if error.code in _CANNOT_WRITE:
        return _cannot_write(path, error.code)
    return StoreError(f"store {path}: {error}")


def _is_full(path: str) -> bool:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize < _FULL_BYTES


def _from_system(path: str, error: OSError) -> StoreError:
    if error.errno in _CANNOT_WRITE:
        return _cannot_write(path, error.errno)
    return StoreError(f"store {error.filename or path}: {error.strerror or error}")


def _cannot_write(path: str, code: int) -> StoreFull:
    return StoreFull(
        f"store {path}: can't write: {os.strerror(code)}; nothing was kept, expected room on a writable disk"
    )

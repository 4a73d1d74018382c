"""The tables of the store in LMDB, and rows in them: numbers as keys, scans by prefix, large values in pieces.

LMDB keeps a value of more than about 2000 bytes on pages of its own: 5 KB take 8, a vector of 2560 bytes takes 4096.
Cut into pieces, three to a page of 4096 bytes, large values fill their pages. The key of a piece is the key of the
value and the position of the piece, 2 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple, TypeAlias

import lmdb

Table: TypeAlias = "lmdb._Database"
Transaction: TypeAlias = "lmdb.Transaction[bytes]"

TABLES_MAX = 32
NUMBER_BYTES = 8
PIECE_BYTES = 1338
"""(4096 - 16) / 3 is 1360 for a row, less 10 for LMDB and 12 for the longest key"""
_POSITION_BYTES = 2


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


def number(n: int) -> bytes:
    """A number as a key: 8 bytes, most significant first, so that the order of keys is the order of numbers.

    >>> number(258)
    b'\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x02'
    """
    return n.to_bytes(NUMBER_BYTES, "big")


def parse_number(key: bytes) -> int:
    """The number at the beginning of a key."""
    return int.from_bytes(key[:NUMBER_BYTES], "big")


def scan(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The rows whose key begins with ``prefix``, from ``start`` on, in order of key."""
    with txn.cursor(table) as cursor:
        if not cursor.set_range(max(prefix, start)):
            return
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def delete_all(txn: Transaction, table: Table, prefix: bytes) -> None:
    """Remove every row whose key begins with ``prefix``."""
    with txn.cursor(table) as cursor:
        found = cursor.set_range(prefix)
        while found and cursor.key().startswith(prefix):
            cursor.delete()
            found = bool(cursor.key())


def put_pieces(txn: Transaction, table: Table, key: bytes, value: bytes) -> None:
    """Store a large value under a key without one. An empty value makes no row."""
    with txn.cursor(table) as cursor:
        last = not cursor.last() or cursor.key() < key  # appending fills pages; other inserts split them in halves
        for position, start in enumerate(range(0, len(value), PIECE_BYTES)):
            piece = value[start : start + PIECE_BYTES]
            cursor.put(key + position.to_bytes(_POSITION_BYTES, "big"), piece, append=last)


def get_pieces(txn: Transaction, table: Table, key: bytes) -> bytes:
    """A large value; empty without a row."""
    return b"".join(piece for _, piece in scan(txn, table, key))


def scan_pieces(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The large values whose key begins with ``prefix``, from ``start`` on, as (key, value) in order of key."""
    for key, rows in groupby(scan(txn, table, prefix, start), lambda row: row[0][:-_POSITION_BYTES]):
        yield key, b"".join(piece for _, piece in rows)

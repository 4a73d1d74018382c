"""Large values in pieces, so that they fill the pages they take.

LMDB keeps a value of more than about 2000 bytes on pages of its own: 5 KB take 8, a vector of 2560 bytes takes 4096.
Cut into pieces of which three fill a page of 4096 bytes, they lie one after the other beside their neighbours. Keys are
the value's own key and the number of the piece, 2 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from shazimd.store.schema import Table, Transaction, scan

_NUMBER_BYTES = 2
PIECE_BYTES = 1338
"""(4096 - 16) / 3 is 1360 for a row, less 10 for LMDB and 12 for the longest key"""


def put(txn: Transaction, table: Table, key: bytes, value: bytes) -> None:
    """Keep a value under a key that has none. An empty one leaves no trace."""
    with txn.cursor(table) as cursor:
        last = not cursor.last() or cursor.key() < key  # then pages are filled to the brim instead of split in halves
        for n, start in enumerate(range(0, len(value), PIECE_BYTES)):
            piece = value[start : start + PIECE_BYTES]
            cursor.put(key + n.to_bytes(_NUMBER_BYTES, "big"), piece, append=last)


def get(txn: Transaction, table: Table, key: bytes) -> bytes:
    """The value, empty when there is none."""
    return b"".join(piece for _, piece in scan(txn, table, key))


def delete(txn: Transaction, table: Table, prefix: bytes) -> None:
    """Remove every value whose key begins with ``prefix``."""
    with txn.cursor(table) as cursor:
        found = cursor.set_range(prefix)
        while found and cursor.key().startswith(prefix):
            cursor.delete()
            found = bool(cursor.key())


def values(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) whose key begins with ``prefix``, from ``start`` on, in order of key."""
    for key, rows in groupby(scan(txn, table, prefix, start), lambda row: row[0][:-_NUMBER_BYTES]):
        yield key, b"".join(piece for _, piece in rows)

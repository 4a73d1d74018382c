"""Rows with their checksum and values that no honest worker sends, written past the store into its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lmdb
import msgspec
import numpy as np

from shazimd.store.tables import TABLES_MAX, Tables, Transaction, delete_all, get, number, put, put_pieces
from shazimd.words.packing import HEADER, VERSION

Forge = Callable[[Transaction, Tables, int], None]
"""Forges a row of a content."""

FIELDS = ("digest", "ah", "dh", "width", "height", "format", "pixels", "low_information", "features_version", "turned")
CONTENT: dict[str, tuple[str, Any]] = {
    "ah of -1": ("ah", -1),
    "dh of -1": ("dh", -1),
    "ah as text": ("ah", "x"),
    "width of -5": ("width", -5),
    "width of 0": ("width", 0),
    "height of 2**63": ("height", 2**63),
    "format of 1.5 MB": ("format", "\x1b[2J" * 400_000),
    "format of none": ("format", None),
    "pixels of 5 bytes": ("pixels", b"12345"),
    "turned of 9 bytes": ("turned", b"x" * 9),
    "turned of 112 kB": ("turned", b"x" * 112_000),
    "features' version of 300": ("features_version", 300),
}


@contextmanager
def writing(directory: str) -> Iterator[tuple[Transaction, Tables]]:
    """A transaction on the file of a closed store."""
    env = lmdb.open(directory, max_dbs=TABLES_MAX, map_size=1 << 30)
    try:
        tables = Tables(*(env.open_db(name.encode(), create=False) for name in Tables._fields))
        with env.begin(write=True) as txn:
            yield txn, tables
    finally:
        env.close()


def content_field(txn: Transaction, t: Tables, content: int, field: str, value: Any) -> None:
    raw = get(txn, t.contents, number(content))
    assert raw is not None
    row = msgspec.msgpack.decode(raw)
    row[FIELDS.index(field)] = value
    put(txn, t.contents, number(content), msgspec.msgpack.encode(row))


def content_bytes(txn: Transaction, t: Tables, content: int, value: bytes) -> None:
    put(txn, t.contents, number(content), value)


def features(txn: Transaction, t: Tables, content: int, value: bytes) -> None:
    delete_all(txn, t.features, number(content))
    put_pieces(txn, t.features, number(content), value)


def vector(txn: Transaction, t: Tables, content: int, value: bytes) -> None:
    key = (1).to_bytes(2, "big") + number(content)
    delete_all(txn, t.vectors, key)
    put_pieces(txn, t.vectors, key, value)


def pending_alert(txn: Transaction, t: Tables, content: int, value: bytes) -> None:
    put(txn, t.pending_alerts, number(1000 + content), value)


PACKED = HEADER.pack(VERSION, 0, 9, 9, 0xFFFF)
KINDS: dict[str, Forge] = {
    **{name: partial(content_field, field=field, value=value) for name, (field, value) in CONTENT.items()},
    "a content of junk": partial(content_bytes, value=b"\xc1"),
    "an empty content": partial(content_bytes, value=b""),
    "a content of nested lists": partial(content_bytes, value=b"\x91" * 100_000),
    "features with another count": partial(features, value=PACKED + b"\xff\xd8\xff" * 9),
    "features of 15 MiB": partial(features, value=PACKED + bytes(15 << 20)),
    "a vector of 3 numbers": partial(vector, value=np.array([1, 0, 0], "<f2").tobytes()),
    "a vector of NaN": partial(vector, value=np.full(256, np.nan, "<f2").tobytes()),
    "a vector of zeros": partial(vector, value=bytes(512)),
    "a pending alert of junk": partial(pending_alert, value=b"\xc1"),
    "a pending alert of a forged picture": partial(
        pending_alert,
        value=msgspec.msgpack.encode([b"/none", [b"", -1, 0, 1, 1, "PNG", None, False], None, [], b"", b""]),
    ),
}

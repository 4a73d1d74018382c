"""The tables, their version, and the way from one version to the next. FORMAT.md describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import lmdb

from shazimd.errors import StoreDamaged
from shazimd.store import keys

Table: TypeAlias = "lmdb._Database"
Transaction: TypeAlias = "lmdb.Transaction[bytes]"

SCHEMA = 1
"""Grows with every change to a table, a key or a record."""

MIGRATIONS: dict[int, Callable[[lmdb.Environment, Transaction], None]] = {}
"""From a version to the next one; all steps from the version found to SCHEMA run in one transaction."""

TABLES_MAX = 32


class Tables(NamedTuple):
    """Handles of the tables, each kept in LMDB under the name it has here."""

    numbers: Table
    directories: Table
    directory_names: Table
    files: Table
    contents: Table
    digests: Table
    pixels: Table
    holders: Table
    features: Table
    models: Table
    vectors: Table
    removals: Table
    alerts: Table
    untold: Table
    values: Table


def create_tables(env: lmdb.Environment) -> None:
    """Make an empty store of a new environment."""
    with env.begin(write=True) as txn:
        tables = Tables(*(env.open_db(name.encode(), txn=txn) for name in Tables._fields))
        txn.put(b"schema", keys.number(SCHEMA), db=tables.numbers)


def open_tables(env: lmdb.Environment, path: str) -> Tables:
    """The tables of an existing store, after any migration. Raises StoreDamaged for what is no store of ours."""
    found = _version(env, path)
    if found != SCHEMA:
        _migrate(env, path, found)
    with env.begin(write=True) as txn:  # handles opened in a read transaction end with it
        return Tables(*(_table(env, txn, name, path) for name in Tables._fields))


def generations_before(txn: Transaction, tables: Tables) -> int:
    """What LMDB's transaction number is short of the store's generation."""
    return keys.parse_number(txn.get(b"generation", db=tables.numbers) or keys.number(0))


def set_generations_before(txn: Transaction, tables: Tables, count: int) -> None:
    txn.put(b"generation", keys.number(count), db=tables.numbers)


def scan(txn: Transaction, table: Table, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The rows whose key begins with ``prefix``, from ``start`` on, in order of key."""
    with txn.cursor(table) as cursor:
        if not cursor.set_range(max(prefix, start)):
            return
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


def _version(env: lmdb.Environment, path: str) -> int:
    with env.begin() as txn:
        raw = txn.get(b"schema", db=_table(env, txn, "numbers", path))
    if raw is None:
        raise StoreDamaged(f"store {path}: has no schema number, expected {SCHEMA}")
    return keys.parse_number(raw)


def _table(env: lmdb.Environment, txn: Transaction, name: str, path: str) -> Table:
    try:
        return env.open_db(name.encode(), txn=txn, create=False)
    except lmdb.NotFoundError as error:
        raise StoreDamaged(f"store {path}: an LMDB file without the table {name}, expected one of shazimd") from error


def _migrate(env: lmdb.Environment, path: str, found: int) -> None:
    steps = range(found, SCHEMA)
    if not steps or any(step not in MIGRATIONS for step in steps):
        raise StoreDamaged(f"store {path}: schema is {found}, expected {SCHEMA}; it was left as it is")
    with env.begin(write=True) as txn:
        for step in steps:
            MIGRATIONS[step](env, txn)
        numbers = env.open_db(b"numbers", txn=txn, create=False)
        txn.put(b"schema", keys.number(SCHEMA), db=numbers)

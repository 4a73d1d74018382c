"""The version of the tables, and the migrations from one version to the next. FORMAT.md lists the versions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import lmdb
import structlog
from msgspec import structs

from shazimd.errors import StoreDamaged
from shazimd.posix.memory import MappedFile
from shazimd.store import records
from shazimd.store.environment import data_path
from shazimd.store.tables import (
    PIECE_BYTES,
    SCHEMA,
    Table,
    Tables,
    Transaction,
    checksum,
    has_rows,
    is_sealed,
    joined,
    number,
    parse_number,
    piece_key,
    put,
    raw_rows,
    unsealed,
)
from shazimd.store.tables import TABLES_MAX as TABLES_MAX  # scripts outside the package import it from here

log = structlog.get_logger()

PROGRESS_EVERY_S = 10.0
ROWS_BETWEEN_TRIMS = 1024


def open_tables(env: lmdb.Environment, path: str) -> Tables:
    """The tables of an existing store, after any migration. Raises StoreDamaged for a file that is no store of ours,
    lmdb.MapFullError when the map is too small for the migration; either leaves the store as it was."""
    found = version(env, path)
    if found != SCHEMA:
        _migrate(env, path, found)
    with env.begin(write=True) as txn:  # handles opened in a read transaction end with it
        return Tables(*(_table(env, txn, name, path) for name in Tables._fields))


def version(env: lmdb.Environment, path: str) -> int:
    """The schema of a store. Raises StoreDamaged."""
    with env.begin() as txn:
        raw = txn.get(b"schema", db=_table(env, txn, "numbers", path))
    if raw is None:
        raise StoreDamaged(f"store {path}: has no schema number, expected {SCHEMA}")
    return parse_number(raw)


def _table(env: lmdb.Environment, txn: Transaction, name: str, path: str) -> Table:
    try:
        return env.open_db(name.encode(), txn=txn, create=False)
    except lmdb.NotFoundError as error:
        raise StoreDamaged(f"store {path}: an LMDB file without the table {name}, expected one of shazimd") from error


def _migrate(env: lmdb.Environment, path: str, found: int) -> None:
    steps = range(found, SCHEMA)
    if not steps or any(step not in MIGRATIONS for step in steps):
        raise StoreDamaged(f"store {path}: schema is {found}, expected {SCHEMA}; it was left as it is")
    log.info("store_migrating", path=path, schema=found, to=SCHEMA)
    started = time.monotonic()
    with env.begin(write=True) as txn:
        for step in steps:
            MIGRATIONS[step](env, txn)
        numbers = env.open_db(b"numbers", txn=txn, create=False)
        put(txn, numbers, b"schema", number(SCHEMA))
    log.info("store_migrated", path=path, schema=SCHEMA, took_s=round(time.monotonic() - started, 1))


def _to_2(env: lmdb.Environment, txn: Transaction) -> None:
    """Contents get the version of their features, contents without files a row in ``deleted``, and the table
    ``untold`` its plain name."""
    old = {name: env.open_db(name.encode(), txn=txn) for name in ("numbers", "contents", "holders", "features")}
    new = {name: env.open_db(name.encode(), txn=txn) for name in ("deleted", "deletions")}
    txn.put(b"clock_wall", number(int(time.time())), db=old["numbers"])
    mapped = MappedFile(data_path(env.path()))
    for n, key in enumerate(_rewritten_contents(txn, old["contents"], old["features"])):
        if n % ROWS_BETWEEN_TRIMS == 0:
            mapped.trim()
        if not has_rows(txn, old["holders"], key):
            txn.put(key, number(0), db=new["deleted"])
            txn.put(number(0) + key, b"", db=new["deletions"])
    _rename_pending_alerts(env, txn, old["numbers"])


def _rewritten_contents(txn: Transaction, contents: Table, features: Table) -> Iterator[bytes]:
    """Add the version of the features to each content; the keys."""
    total, progress = txn.stat(contents)["entries"], _MigrationLog()
    with txn.cursor(contents) as cursor:
        found, done = cursor.first(), 0
        while found:
            key, raw = cursor.item()
            record = records.decode(raw, records.ContentRecord)
            first = next((piece for _, piece in raw_rows(txn, features, key)), b"")
            made_by = records.features_version(first)
            cursor.put(key, records.encode(structs.replace(record, features_version=made_by)))
            yield key
            done += 1
            progress.say(contents_done=done, contents=total)
            found = cursor.next()


def _rename_pending_alerts(env: lmdb.Environment, txn: Transaction, numbers: Table) -> None:
    untold, pending = env.open_db(b"untold", txn=txn), env.open_db(b"pending_alerts", txn=txn)
    for key, raw in raw_rows(txn, untold, b""):
        txn.put(key, raw, db=pending)
    txn.drop(untold)
    last = txn.pop(b"untold", db=numbers)
    if last is not None:
        txn.put(b"pending_alert", last, db=numbers)
    txn.delete(b"generation", db=numbers)


def _to_3(env: lmdb.Environment, txn: Transaction) -> None:
    """New tables; the relations of every content with features are still to be found."""
    contents = env.open_db(b"contents", txn=txn)
    new = {n: env.open_db(n.encode(), txn=txn) for n in ("relations", "unrelated", "facts", "decisions", "decided")}
    for key, raw in raw_rows(txn, contents, b""):
        if records.decode(raw, records.ContentRecord).features_version:
            txn.put(key, b"", db=new["unrelated"], append=True)


def _to_4(env: lmdb.Environment, txn: Transaction) -> None:
    """Each value gets its checksum; a large value in its last piece."""
    mapped = MappedFile(data_path(env.path()))
    progress = _MigrationLog()
    for name in _TABLES_3:
        table = env.open_db(name.encode(), txn=txn, create=False)
        seal = _seal_pieces if name in _LARGE_3 else _seal_rows
        for n, _ in enumerate(seal(txn, table)):
            if n % ROWS_BETWEEN_TRIMS == 0:
                mapped.trim()
            progress.say(table=name, rows_done=n + 1)


def _seal_rows(txn: Transaction, table: Table) -> Iterator[bytes]:
    """Write each row again with its checksum; the keys."""
    with txn.cursor(table) as cursor:
        found = cursor.first()
        while found:
            key, value = cursor.item()
            cursor.put(key, value + checksum(key, value))
            yield key
            found = cursor.next()


def _seal_pieces(txn: Transaction, table: Table) -> Iterator[bytes]:
    """Write the last piece of each large value again, with the checksum; the keys of the values."""
    after = b""
    while (found := next(joined(raw_rows(txn, table, b"", after)), None)) is not None:
        key, value = found
        position = (len(value) - 1) // PIECE_BYTES
        last = value[position * PIECE_BYTES :] + checksum(key, value)
        txn.put(piece_key(key, position), last[:PIECE_BYTES], db=table)
        if rest := last[PIECE_BYTES:]:
            txn.put(piece_key(key, position + 1), rest, db=table)
        yield key
        after = piece_key(key, position + 2)


class _MigrationLog:
    """Says in the log how far a long migration has come, now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, **done: Any) -> None:
        if time.monotonic() - self._last >= PROGRESS_EVERY_S:
            log.info("store_migrating", **done)
            self._last = time.monotonic()


def _to_5(env: lmdb.Environment, txn: Transaction) -> None:
    """Files may have the time of their failure: rows of before are read as without it. Relations lose a field: those of
    before go, and are found anew, since no version of the judgement is stored."""
    txn.drop(env.open_db(b"relations", txn=txn, create=False), delete=False)


def _to_6(_env: lmdb.Environment, _txn: Transaction) -> None:
    """Relations have the version of the judgement that found them: rows of before are read as of version 0."""


def _to_7(env: lmdb.Environment, txn: Transaction) -> None:
    """New tables, empty: changes are numbered once a daemon shares its files."""
    for name in ("changes", "changed"):
        env.open_db(name.encode(), txn=txn)


def _to_8(env: lmdb.Environment, txn: Transaction) -> None:
    """The names of complete first scans have a digest of the root's path, as other names have: a path may be longer
    than a key, and need not be UTF-8."""
    values = env.open_db(b"values", txn=txn, create=False)
    prefix = b"baseline:"
    for key, stored in [*raw_rows(txn, values, prefix)]:
        txn.delete(key, db=values)
        if is_sealed(key, stored):  # else the root has its first scan again
            root = key.removeprefix(prefix)
            name = prefix + hashlib.blake2b(root, digest_size=16).hexdigest().encode()
            put(txn, values, name, unsealed(key, stored))


_TABLES_3 = (
    *("numbers", "directories", "directory_names", "files", "contents", "digests", "pixels", "holders", "deleted"),
    *("deletions", "features", "models", "vectors", "removals", "alerts", "pending_alerts", "values", "relations"),
    *("unrelated", "facts", "decisions", "decided"),
)
_LARGE_3 = ("features", "vectors")

MIGRATIONS: dict[int, Callable[[lmdb.Environment, Transaction], None]] = {
    1: _to_2,
    2: _to_3,
    3: _to_4,
    4: _to_5,
    5: _to_6,
    6: _to_7,
    7: _to_8,
}
"""From a version to the next. All steps from the version found to SCHEMA run in one transaction, again from the start
when the map had to grow."""

"""The version of the tables, and the migrations from one version to the next. FORMAT.md lists the versions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import lmdb
import structlog
from msgspec import structs

from shazimd.errors import StoreDamaged
from shazimd.store import records
from shazimd.store.resident import MappedFile
from shazimd.store.tables import TABLES_MAX as TABLES_MAX  # scripts outside the package import it from here
from shazimd.store.tables import Table, Tables, Transaction, number, parse_number, scan

log = structlog.get_logger()

SCHEMA = 3
"""Grows with every change to a table, a key or a record."""

PROGRESS_EVERY_S = 10.0
ROWS_BETWEEN_TRIMS = 1024


def create_tables(env: lmdb.Environment) -> None:
    """Make an empty store of a new environment."""
    with env.begin(write=True) as txn:
        tables = Tables(*(env.open_db(name.encode(), txn=txn) for name in Tables._fields))
        txn.put(b"schema", number(SCHEMA), db=tables.numbers)


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
        txn.put(b"schema", number(SCHEMA), db=numbers)
    log.info("store_migrated", path=path, schema=SCHEMA, took_s=round(time.monotonic() - started, 1))


def _to_2(env: lmdb.Environment, txn: Transaction) -> None:
    """Contents get the version of their features, contents without files a row in ``deleted``, and the table
    ``untold`` its plain name."""
    old = {name: env.open_db(name.encode(), txn=txn) for name in ("numbers", "contents", "holders", "features")}
    new = {name: env.open_db(name.encode(), txn=txn) for name in ("deleted", "deletions")}
    txn.put(b"clock_wall", number(int(time.time())), db=old["numbers"])
    mapped = MappedFile(os.path.join(env.path(), "data.mdb"))
    for n, key in enumerate(_rewritten_contents(txn, old["contents"], old["features"])):
        if n % ROWS_BETWEEN_TRIMS == 0:
            mapped.trim()
        if not any(scan(txn, old["holders"], key)):
            txn.put(key, number(0), db=new["deleted"])
            txn.put(number(0) + key, b"", db=new["deletions"])
    _rename_pending_alerts(env, txn, old["numbers"])


def _rewritten_contents(txn: Transaction, contents: Table, features: Table) -> Iterator[bytes]:
    """Add the version of the features to each content; the keys."""
    total, last_said = txn.stat(contents)["entries"], time.monotonic()
    with txn.cursor(contents) as cursor:
        found, done = cursor.first(), 0
        while found:
            key, raw = cursor.item()
            record = records.decode(raw, records.ContentRecord)
            first = next((piece for _, piece in scan(txn, features, key)), b"")
            made_by = records.features_version(first)
            cursor.put(key, records.encode(structs.replace(record, features_version=made_by)))
            yield key
            done += 1
            if time.monotonic() - last_said >= PROGRESS_EVERY_S:
                log.info("store_migrating", contents_done=done, contents=total)
                last_said = time.monotonic()
            found = cursor.next()


def _rename_pending_alerts(env: lmdb.Environment, txn: Transaction, numbers: Table) -> None:
    untold, pending = env.open_db(b"untold", txn=txn), env.open_db(b"pending_alerts", txn=txn)
    for key, raw in scan(txn, untold, b""):
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
    for key, raw in scan(txn, contents, b""):
        if records.decode(raw, records.ContentRecord).features_version:
            txn.put(key, b"", db=new["unrelated"], append=True)


MIGRATIONS: dict[int, Callable[[lmdb.Environment, Transaction], None]] = {1: _to_2, 2: _to_3}
"""From a version to the next. All steps from the version found to SCHEMA run in one transaction, again from the start
when the map had to grow."""

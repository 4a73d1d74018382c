"""The verbs of ``child``: whether a store is whole, a copy of it, and the names of the files that damage concerns.

Modules that know the rows load NumPy, which takes 0.1 s: they are imported where rows are read, not for ``verify``,
which each start after a crash waits for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import lmdb

from shazimd import text
from shazimd.errors import StoreDamaged, StoreError
from shazimd.store import environment
from shazimd.store.damage import Snapshot, held, last, readable
from shazimd.store.environment import as_owner
from shazimd.store.report import Report, growth, reader_of, unreported
from shazimd.store.tables import (
    CHECKSUM_BYTES,
    NUMBER_BYTES,
    SCHEMA,
    Tables,
    Transaction,
    foreign_errors,
    is_sealed,
    parse_number,
)


def verify(path: str, report: Report = unreported) -> list[str]:
    """The damage to a store that no process has open, before LMDB opens it. Of an older schema the structure alone."""
    with as_owner(path), foreign_errors(path), last(path) as snapshot:
        return list(_damage(snapshot, report))


def check(path: str, report: Report = unreported) -> list[str]:
    """The damage to a store with the files that it concerns; without damage, contradictions between its tables. Raises
    StoreError before the migration of an older schema."""
    from shazimd.store.check import EXAMINATIONS, problems

    with as_owner(path), foreign_errors(path):
        try:
            with held(path) as (snapshot, env, txn):
                found = list(_damage(snapshot, report))
                if not found:
                    _expect_schema(path, _schema(snapshot))
                    compared = reader_of(report, COMPARING, len(EXAMINATIONS))  # a step is a table
                    return list(problems(txn, _tables(env, txn), lambda: compared(1)))
        except StoreDamaged as error:
            found = [str(error)]
        return found + list(_concerned(path))


def backup(path: str, target: str, report: Report = unreported) -> list[str]:
    """Write a copy of a store without damage, compact and durable, to a new file."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file, foreign_errors(target):
        with as_owner(path), held(path) as (snapshot, env, _):
            if found := list(_damage(snapshot, report)):
                raise environment.damaged(path, found)
            with growth(report, COPYING, file.fileno()):
                env.copyfd(file.fileno(), compact=True)
        os.fsync(file.fileno())
    return []


FAULTS_TOLD = 20
LOOKING, COMPARING, COPYING = "looking for damage", "comparing the tables", "copying"

WORK: dict[str, Callable[..., list[str]]] = {"verify": verify, "check": check, "backup": backup}


def _damage(snapshot: Snapshot, report: Report) -> Iterator[str]:
    """Faults of the structure, and damaged rows."""
    snapshot.on_read = reader_of(report, LOOKING, 2 * snapshot.size_bytes)  # once for each of the two
    yield from _shortened(list(snapshot.problems()))
    if _schema(snapshot) == SCHEMA:
        rows = snapshot.rows()
        for name in Tables._fields:
            for _ in rows.of(name):
                pass
        yield from _shortened(
            [f"page {fault.page} of the table {fault.table}: {fault.reason}" for fault in rows.faults]
        )
        yield from (f"a row of the table {table} differs from its checksum: key {key!r}" for table, key in rows.damaged)


def _shortened(faults: list[str]) -> list[str]:
    """The first faults of pages: a truncated file has one for each page, and the files concerned are named anyway."""
    more = len(faults) - FAULTS_TOLD
    return faults if more <= 0 else [*faults[:FAULTS_TOLD], f"and {more} more faults of pages"]


def _concerned(directory: str) -> Iterator[str]:
    """The files that damage concerns, and what ``repair`` has done for each; none if nothing can be read."""
    from shazimd.store.salvage import Salvage

    with suppress(StoreDamaged), readable(directory) as snapshot:
        whole = Salvage(snapshot.rows())
        for path, reason in whole.concerned().items():
            yield f"{text.readable(path)}: {reason}"
        yield from whole.unnamed()


def _expect_schema(path: str, found: int | None) -> None:
    if found != SCHEMA:
        raise StoreError(f"store {path}: schema is {found}, expected {SCHEMA}: start shazimd to migrate it")


def _schema(snapshot: Snapshot) -> int | None:
    """The schema number of a store; None if it has none, or can't be read. A damaged row with a checksum is taken for
    one of the present schema, as which its damage is told."""
    rows = snapshot.rows()
    numbers = rows.file.rows("numbers", rows.roots.get("numbers", -1))
    stored = next((raw for key, raw in numbers if key == b"schema"), None)
    if stored is None:
        return None
    has_checksum = len(stored) == NUMBER_BYTES + CHECKSUM_BYTES
    return SCHEMA if has_checksum and not is_sealed(b"schema", stored) else parse_number(stored)


def _tables(env: lmdb.Environment, txn: Transaction) -> Tables:
    try:
        return Tables(*(env.open_db(name.encode(), txn=txn, create=False) for name in Tables._fields))
    except lmdb.NotFoundError as error:
        raise StoreDamaged(f"store {env.path()}: a table is missing: {error}") from error

"""Stores as earlier versions wrote them. ``fixtures/make_store.py`` says how to add the next one."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from make_store import ROOT, relation_rows, rows
from structlog.testing import capture_logs

from shazimd.errors import StoreError
from shazimd.ingest.values import has_baseline, judge_of_relations
from shazimd.store import lmdb_store, maintenance, schema
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.store.tables import SCHEMA, TABLES_MAX, Transaction, number, put

MIB = 1 << 20
SCHEMAS = sorted(path.parent.name for path in Path(__file__).parent.glob("fixtures/*/store.tar.xz"))


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    """Unpacks the store of a schema; its directory."""

    def unpack(schema: str) -> Path:
        with tarfile.open(Path(__file__).parent / "fixtures" / schema / "store.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / "store"

    return unpack


def expected(directory: Path) -> Any:
    return json.loads((directory.parent / "expected.json").read_text())


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_store_of_an_earlier_schema_keeps_every_row(unpacked: Callable[[str], Path], schema: str) -> None:
    """All files, contents, vectors, features, alerts and pending alerts are there after the migration, and again when
    the store is opened once more."""
    directory = unpacked(schema)
    for _ in range(2):
        store = open_store(str(directory), 16 * MIB)
        with store.read() as reader:
            kept = rows(reader) | relation_rows(reader)
        assert {name: kept[name] for name in expected(directory)} == expected(directory)
        assert store.check() == []
        store.close()


def test_relations_of_schema_4_go(unpacked: Callable[[str], Path]) -> None:
    """They have a field that later ones lack. They are found anew: no store of then has a version of the judgement."""
    directory = unpacked("schema4")
    with lmdb.open(str(directory), max_dbs=TABLES_MAX) as env, env.begin(write=True) as txn:
        relations = env.open_db(b"relations", txn=txn)
        row = (2, 1, (0.9, 0.9, None), "copy", 60, 0.97, (1.0, 0.0, False, (0.0, 0.0, 1.0, 1.0)), None)
        put(txn, relations, number(1) + number(2), msgspec.msgpack.encode(row))
        put(txn, relations, number(2) + number(1), b"")
    store = open_store(str(directory), 16 * MIB)
    with store.read() as reader:
        assert (reader.relations.partners(1), judge_of_relations(reader)) == ([], 0)
    assert store.check() == []
    store.close()


@pytest.mark.parametrize("name", [b"/srv/M\xc3\xbcnchen", b"/" + b"x" * 300])
def test_a_complete_first_scan_stays_complete(unpacked: Callable[[str], Path], name: bytes) -> None:
    """Under the root's path in schema 7, and under the digest of it since: the first scan tells nothing, and must not
    come again. A row that is damaged counts as no scan."""
    directory = unpacked("schema7")
    with lmdb.open(str(directory), max_dbs=TABLES_MAX) as env, env.begin(write=True) as txn:
        values = env.open_db(b"values", txn=txn)
        put(txn, values, b"baseline:" + name, b"true")
        txn.put(b"baseline:/srv/damaged", b"true....", db=values)
    store = open_store(str(directory), 16 * MIB)
    with store.read() as reader:
        assert [has_baseline(reader, root) for root in (name, ROOT, b"/srv/damaged")] == [True, True, False]
    assert store.check() == []
    store.close()


def test_a_migration_grows_a_map_that_is_too_small(
    unpacked: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a write does: the migration runs again from the start until it fits."""
    directory = unpacked("schema1")
    runs: list[int] = []
    step = schema.MIGRATIONS[1]

    def large(env: lmdb.Environment, txn: Transaction) -> None:
        runs.append(env.info()["map_size"])
        values = env.open_db(b"values", txn=txn)
        for n in range(3000):
            txn.put(b"large %d" % n, b"1" * 1500, db=values)
        step(env, txn)

    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, 1: large})
    monkeypatch.setattr(lmdb_store, "GROWTH_BYTES_MIN", MIB)
    store = open_store(str(directory), MIB)
    assert len(runs) > 1
    assert runs == sorted(set(runs))
    with store.read() as reader:
        assert rows(reader) == expected(directory)
    store.close()


def test_a_migration_says_its_progress(unpacked: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """When it begins and ends, and in between how many contents are done."""
    monkeypatch.setattr(schema, "PROGRESS_EVERY_S", 0.0)
    with capture_logs() as logs:
        open_store(str(unpacked("schema1")), 16 * MIB).close()
    first, *between, last = [line for line in logs if line["event"].startswith("store_migrat")]
    assert (first["schema"], first["to"], last["event"]) == (1, SCHEMA, "store_migrated")
    contents = [line for line in between if "contents_done" in line]
    assert [line["contents_done"] for line in contents] == list(range(1, 31))
    assert {line["contents"] for line in contents} == {30}
    assert ("vectors", 45) in [(line.get("table"), line.get("rows_done")) for line in between]


KILLED_1 = """
import sys
from shazimd.store import schema
from shazimd.store.lmdb_store import open_store

step, after = schema.MIGRATIONS[1], int(sys.argv[2])
rewritten = schema._rewritten_contents

def slowed(txn, contents, features):
    for n, key in enumerate(rewritten(txn, contents, features)):
        if n == after:
            print("here", flush=True)
            sys.stdin.read()
        yield key

def ended(env, txn):
    step(env, txn)
    print("here", flush=True)
    sys.stdin.read()

schema._rewritten_contents = slowed
schema.MIGRATIONS[1] = ended
open_store(sys.argv[1], 1 << 20)
"""


KILLED_3 = """
import sys
from shazimd.store import schema
from shazimd.store.lmdb_store import open_store

after, rows = int(sys.argv[2]), 0

def slowed(step):
    def seal(txn, table):
        global rows
        for key in step(txn, table):
            rows += 1
            if rows == after:
                print("here", flush=True)
                sys.stdin.read()
            yield key
    return seal

schema._seal_rows, schema._seal_pieces = slowed(schema._seal_rows), slowed(schema._seal_pieces)
open_store(sys.argv[1], 1 << 20)
"""


@pytest.mark.parametrize(
    ("found", "program", "after"),
    [*((1, KILLED_1, after) for after in (0, 7, 29, 1000)), *((3, KILLED_3, after) for after in (1, 99, 250))],
)
def test_a_killed_migration_leaves_the_store_as_it_was(
    unpacked: Callable[[str], Path], found: int, program: str, after: int
) -> None:
    """At the first row, in the middle, at the last one, or when only the commit was missing."""
    directory = unpacked(f"schema{found}")
    command = [sys.executable, "-c", program, str(directory), str(after)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while b"here\n" != (line := process.stdout.readline()):
            assert line
        process.kill()
        process.wait()
    with lmdb.open(str(directory), max_dbs=TABLES_MAX, readonly=True) as env:
        assert schema.version(env, str(directory)) == found
        with env.begin() as txn:
            assert {b"contents", b"untold" if found == 1 else b"deleted"} <= {key for key, _ in txn.cursor()}
            assert txn.cursor().set_key(b"deleted") == (found == 3)
    store = open_store(str(directory), 16 * MIB)
    with store.read() as reader:
        assert rows(reader) == expected(directory)
    assert store.check() == []
    store.close()


def test_contents_deleted_before_the_migration_get_a_whole_grace(unpacked: Callable[[str], Path]) -> None:
    """The time of their deletion is not known; it counts from the migration on."""
    store = open_store(str(unpacked("schema1")), 16 * MIB)
    with store.read() as reader:
        assert list(reader.deleted()) == [27, 28, 29, 30]
        assert list(reader.deleted(age_s=60)) == []
        assert list(reader.outdated(None, 2)) == []
    store.close()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_contents_of_before_are_still_to_be_related(unpacked: Callable[[str], Path], schema: str) -> None:
    """Relations were not kept before: those of every content with features are found in the background."""
    store = open_store(str(unpacked(schema)), 16 * MIB)
    with store.read() as reader:
        assert reader.relations.unrelated(100) == list(range(1, 31))
    store.close()


def test_ids_of_alerts_never_come_again_after_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts after the backup had ids that the backup does not know. A machine without a clock skips a number."""
    store, saved = tmp_path / "store", tmp_path / "saved"

    def alerts(*paths: str) -> list[int]:
        with closing(open_store(str(store), 16 * MIB)) as opened:
            return [opened.write(partial(Writer.add_alert, record={"path": path})) for path in paths]

    before = alerts("a", "b")
    maintenance.backup(str(store), str(saved))
    after = alerts("c", "d")
    maintenance.restore(str(store), str(saved))
    again = alerts("e")
    maintenance.restore(str(store), str(saved))
    once_more = alerts("f")
    assert before < after < again < once_more
    monkeypatch.setattr(time, "time", lambda: 5.0)
    maintenance.restore(str(store), str(saved))
    assert alerts("g") == [2 + maintenance.IDS_SKIPPED_MIN + 1]


def test_a_backup_of_an_earlier_schema_can_be_restored(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """It is migrated before it takes the place of the store."""
    copy = unpacked("schema1")
    maintenance.restore(str(tmp_path / "restored"), str(copy))
    assert maintenance.check(str(tmp_path / "restored")) == []
    store = open_store(str(tmp_path / "restored"), 16 * MIB)
    with store.read() as reader:
        assert rows(reader) == expected(copy)
    store.close()


def test_a_store_that_is_not_migrated_is_not_checked(unpacked: Callable[[str], Path]) -> None:
    """The command names both versions and says that the daemon migrates the store."""
    with pytest.raises(StoreError, match=rf"schema is 1, expected {SCHEMA}: start shazimd"):
        maintenance.check(str(unpacked("schema1")))

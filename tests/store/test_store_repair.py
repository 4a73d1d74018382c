"""Damage is looked for before LMDB opens a file, in a process of its own; what is whole is kept."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import lmdb
import pytest
from make_store import PENDING, ROOT, fill
from patience import PATIENCE_S, tick

from shazimd.errors import StoreDamaged, StoreError
from shazimd.ingest.values import has_baseline
from shazimd.store import child, environment, inspection, maintenance
from shazimd.store.lmdb_store import open_store
from shazimd.store.report import Report, growth, unreported
from shazimd.store.tables import TABLES_MAX, Tables
from shazimd.types import FileRow, Stat

MIB = 1 << 20


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The directory of a closed store with rows in most tables: 30 contents, the last four without files."""
    store = open_store(str(tmp_path / "store"), 16 * MIB)
    store.write(fill)
    store.close()
    return tmp_path / "store"


@pytest.fixture
def looked_through_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores are looked through in this process: a row that differs from its checksum ends none, and a process for each
    look costs most of such a test."""

    def run(verb: str, path: str, *arguments: str, report: Report = unreported) -> list[str]:
        return inspection.WORK[verb](path, *arguments, report=report)

    monkeypatch.setattr(child, "run", run)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that were looked through for damage."""
    looked: list[str] = []
    run = child.run

    def noting(verb: str, path: str, *arguments: str, report: Report = unreported) -> list[str]:
        looked.append(path)
        return run(verb, path, *arguments, report=report)

    monkeypatch.setattr(child, "run", noting)
    return looked


def spoil(directory: Path, table: str, position: int) -> bytes:
    """Flip a bit in the stored value of a row; its key."""
    with lmdb.open(str(directory), max_dbs=TABLES_MAX) as env, env.begin(write=True) as txn:
        handle = env.open_db(table.encode(), txn=txn, create=False)
        key, stored = list(txn.cursor(handle))[position]
        txn.put(key, stored[:-1] + bytes([stored[-1] ^ 4]), db=handle)
    return bytes(key)


def test_a_closed_store_is_opened_at_once(filled: Path, verified: list[str]) -> None:
    """Without a look at all of it; also a new one."""
    open_store(str(filled), 16 * MIB).close()
    open_store(str(filled.parent / "new"), 16 * MIB).close()
    assert verified == []


def test_a_store_that_was_not_closed_is_looked_through(filled: Path, verified: list[str]) -> None:
    """After a crash; from the next end on it counts as closed."""
    environment.note_open(str(filled))
    open_store(str(filled), 16 * MIB).close()
    open_store(str(filled), 16 * MIB).close()
    assert verified == [str(filled)]


def test_a_store_that_was_changed_since_it_was_closed_is_looked_through(filled: Path, verified: list[str]) -> None:
    """A write gives the file another ctime."""
    tick()
    with open(filled / "data.mdb", "r+b") as file:
        os.pwrite(file.fileno(), os.pread(file.fileno(), 1, 0), 0)
    open_store(str(filled), 16 * MIB).close()
    assert verified == [str(filled)]


def test_a_check_runs_beside_writes(filled: Path) -> None:
    """It looks at one snapshot, however much is written meanwhile, and finds no damage."""
    store = open_store(str(filled), 16 * MIB)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            store.write(lambda w: w.set("n", "v" * 5000))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert [maintenance.check(str(filled)) for _ in range(3)] == [[], [], []]
        maintenance.backup(str(filled), str(filled.parent / "copy"))
    finally:
        done.set()
        thread.join()
        store.close()
    assert maintenance.check(str(filled.parent / "copy")) == []


@pytest.mark.parametrize("name", ["BUS", "ABRT", "SEGV"])
def test_a_signal_becomes_words(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As LMDB and the disk end a process that reads damaged pages."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nkill -{name} $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert [f"store {filled}: reading it ended by SIG{name}, expected an intact LMDB file on a sound disk"] == (
        maintenance.check(str(filled))
    )
    with pytest.raises(StoreDamaged, match=f"ended by SIG{name}"):
        maintenance.backup(str(filled), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_a_damaged_store_is_not_copied(filled: Path, tmp_path: Path) -> None:
    """A copy would pass the damage on; nothing is left behind."""
    spoil(filled, "files", 3)
    with pytest.raises(StoreDamaged, match=r"a row of the table files differs from its checksum.*store repair"):
        maintenance.backup(str(filled), str(tmp_path / "copy"))
    assert sorted(os.listdir(tmp_path)) == ["store"]


@pytest.mark.parametrize("table", Tables._fields)
@pytest.mark.usefixtures("looked_through_here")
def test_a_flipped_bit_is_found_in_any_table(filled: Path, table: str) -> None:
    """And mended by repair, after which all tables agree."""
    with lmdb.open(str(filled), max_dbs=TABLES_MAX) as env, env.begin() as txn:
        if not txn.stat(env.open_db(table.encode(), txn=txn, create=False))["entries"]:
            pytest.skip("nothing is written there yet")
    spoil(filled, table, 0)
    found = maintenance.repair(str(filled), 16 * MIB).problems
    assert f"a row of the table {table} differs from its checksum" in found[0]
    assert maintenance.check(str(filled)) == []


@pytest.mark.usefixtures("looked_through_here")
def test_a_flipped_schema_number_is_damage(filled: Path) -> None:
    """Not another schema."""
    with lmdb.open(str(filled), max_dbs=TABLES_MAX) as env, env.begin(write=True) as txn:
        numbers = env.open_db(b"numbers", txn=txn, create=False)
        stored = txn.get(b"schema", db=numbers)
        assert stored is not None
        txn.put(b"schema", b"\x01" + stored[1:], db=numbers)
    with pytest.raises(StoreDamaged, match="found damage"):
        open_store(str(filled), 16 * MIB)
    assert len(maintenance.repair(str(filled), 16 * MIB).problems) == 1
    assert maintenance.check(str(filled)) == []


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("files", "its row is lost: the file is read again"),
        ("contents", "its content is lost: the file is decoded again"),
        ("features", "its local features are lost: they are made again"),
        ("vectors", "a feature vector of it is lost: it is made again"),
    ],
)
@pytest.mark.usefixtures("looked_through_here")
def test_the_files_that_damage_concerns_are_named(filled: Path, table: str, reason: str) -> None:
    """With what becomes of them."""
    spoil(filled, table, 4 if table == "files" else 0)
    path = "/srv/photos/0/\\xff03.png" if table == "files" else "/srv/photos/0/\\xff00.png"
    assert maintenance.check(str(filled))[1:] == [f"{path}: {reason}"]


@pytest.mark.usefixtures("looked_through_here")
def test_a_lost_model_loses_its_vectors(filled: Path) -> None:
    """Every second content has one of the model; the last one of these is without a file."""
    spoil(filled, "models", 0)
    named = maintenance.check(str(filled))[1:]
    assert len(named) == 13
    assert named[0] == "/srv/photos/0/\\xff03.png: a feature vector of it is lost: it is made again"


def test_repair_keeps_what_is_whole(filled: Path) -> None:
    """A file whose row is lost keeps its content, and is read again; one whose content is lost is forgotten, and found
    anew. Everything else stays, ids too."""
    spoil(filled, "files", 4)
    spoil(filled, "contents", 6)
    done = maintenance.repair(str(filled), 16 * MIB)
    assert (done.problems[-2:], done.kept) == (
        [
            "/srv/photos/0/\\xff03.png: its row is lost: the file is read again",
            "/srv/photos/0/\\xff06.png: its content is lost: the file is decoded again",
        ],
        str(filled / "data.mdb.damaged"),
    )
    store = open_store(str(filled), 16 * MIB)
    with store.read() as reader:
        row = reader.file(b"/srv/photos/0/\xff03.png")
        assert row == FileRow(Stat(0, 0, 0, 0), row.state, 4) if row else row
        assert reader.file(b"/srv/photos/0/\xff06.png") is None
        assert [content for content, _ in reader.signals("old-model")] == [n for n in range(1, 31) if n != 7]
        assert len(list(reader.walk(b"/"))) == 28
        assert list(reader.deleted()) == [27, 28, 29, 30]
        assert len(list(reader.pending_alerts())) == PENDING
        assert [alert["score"] for _, alert in reader.alerts()] == [0.9137]
        assert has_baseline(reader, ROOT)
        assert reader.relations.unrelated(100) == [n for n in range(1, 31) if n != 7]
    assert store.write(lambda w: w.add_alert({})) == 2
    store.close()


@pytest.mark.usefixtures("looked_through_here")
def test_repair_leaves_a_whole_store_alone(filled: Path) -> None:
    """Nothing is written."""
    before = (filled / "data.mdb").stat()
    assert maintenance.repair(str(filled), 16 * MIB) == ([], "")
    assert (filled / "data.mdb").stat().st_mtime_ns == before.st_mtime_ns


def test_repair_needs_the_store_for_itself(filled: Path) -> None:
    """The daemon must be stopped."""
    store = open_store(str(filled), 16 * MIB)
    with pytest.raises(StoreError, match="held by process"):
        maintenance.repair(str(filled), 16 * MIB)
    store.close()


def test_repair_refuses_a_file_without_a_readable_row(filled: Path) -> None:
    """And leaves it as it is."""
    data = filled / "data.mdb"
    os.truncate(data, 2 * 4096)
    before = data.read_bytes()
    with pytest.raises(StoreDamaged, match=r"no row of it can be read; restore a backup, or remove data\.mdb"):
        maintenance.repair(str(filled), 16 * MIB)
    assert data.read_bytes() == before
    assert sorted(os.listdir(filled)) == ["closed", "data.mdb", "lock", "lock.mdb"]


Reports = list[tuple[str, int, int]]


def shares(reports: Reports) -> dict[str, float]:
    """The last share of each step, after a look that none goes back."""
    last: dict[str, float] = {}
    for text, done, total in reports:
        assert last.get(text, 0) * total <= done
        last[text] = done / total
    return last


def test_a_check_says_how_far_it_is(filled: Path) -> None:
    """Each step, up to its end; in the process of its own, too."""
    reports: Reports = []
    assert inspection.check(str(filled), lambda *report: reports.append(report)) == []
    told = shares(reports)
    assert list(told) == ["looking for damage", "comparing the tables"]
    assert 0.3 < told["looking for damage"] <= 1  # half of the pages of this small store are free
    assert told["comparing the tables"] == 1
    reports.clear()
    assert maintenance.check(str(filled), lambda *report: reports.append(report)) == []
    assert shares(reports).keys() <= told.keys()
    assert reports


def test_a_restore_and_a_repair_say_how_far_they_are(filled: Path, tmp_path: Path) -> None:
    """The bytes copied; the bytes read of a damaged store."""
    reports: Reports = []
    maintenance.backup(str(filled), str(tmp_path / "copy"))
    maintenance.restore(str(tmp_path / "new"), str(tmp_path / "copy"), lambda *report: reports.append(report))
    assert shares(reports) == {"copying": 1}
    spoil(filled, "files", 3)
    maintenance.repair(str(filled), 16 * MIB, lambda *report: reports.append(report))
    assert 0 < shares(reports)["keeping what is whole"] <= 1


@pytest.mark.usefixtures("looked_through_here")
def test_a_store_whose_index_stays_is_not_replaced(filled: Path, tmp_path: Path) -> None:
    """The index of another store would hide new pictures with the ids of earlier ones."""
    maintenance.backup(str(filled), str(tmp_path / "copy"))
    spoil(filled, "files", 3)
    before = (filled / "data.mdb").read_bytes()
    (filled / "index").touch()  # not a directory
    with pytest.raises(StoreError, match="index: Not a directory"):
        maintenance.restore(str(filled), str(tmp_path / "copy"))
    with pytest.raises(StoreError, match="index: Not a directory"):
        maintenance.repair(str(filled), 16 * MIB)
    assert (filled / "data.mdb").read_bytes() == before
    assert not list(filled.glob("*.damaged"))


def test_the_growth_of_a_file_is_reported(tmp_path: Path) -> None:
    """While another library writes it."""
    told = threading.Event()
    texts = []

    def report(text: str, done: int, total: int) -> None:
        texts.append(text)
        told.set()

    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"x" * 5000)
        with growth(report, "copying", file.fileno()):
            assert told.wait(PATIENCE_S)
    assert texts[0] == "copying: 5.0 kB"

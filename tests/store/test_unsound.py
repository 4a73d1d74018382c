"""Rows that nothing can use are passed over, named, and written anew; none keeps the daemon from starting."""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path

import daemon_process as daemon_process_module
import forging_rows
import pytest
from daemon_process import DaemonProcess, daemon_process, drawing
from forging_rows import CONTENT, KINDS

from shazimd.daemon import feed
from shazimd.fingerprint import Fingerprint
from shazimd.ingest.sharing import begin_sharing
from shazimd.models.model import bundled
from shazimd.store.lmdb_store import open_store
from shazimd.store.records import sound_vector
from shazimd.store.tables import number, put
from shazimd.types import FileRow, FileState, Stat, digest_of

MIB = 1 << 20
Make = Callable[..., Fingerprint]


@pytest.mark.parametrize(
    "raw", [b"\x01", b"\x01\x7c", b"\x00\x7c", b"\x00\x3c" * 2], ids=["half", "nan", "infinite", "long"]
)
def test_bytes_that_are_no_vector_are_none(raw: bytes) -> None:
    """Without a warning, also for a signalling NaN."""
    assert sound_vector(raw) is None


@pytest.mark.parametrize("kind", CONTENT)
def test_an_unsound_content_reads_as_unknown_and_is_written_anew(
    tmp_path: Path, make_fingerprint: Make, kind: str
) -> None:
    """By its id, by its digest and in passes over all; the same bytes, added again, mend it under its id."""
    directory = str(tmp_path / "store")
    store = open_store(directory, 64 * MIB)
    digest, fingerprint = digest_of(b"picture"), make_fingerprint(1, pixels=b"p" * 16)
    content = store.write(lambda w: w.add_content(digest, fingerprint))
    store.write(lambda w: w.put_file(b"/a", FileRow(Stat(1, 2, 3), FileState.INDEXED, content)))
    store.close()
    with forging_rows.writing(directory) as (txn, tables):
        KINDS[kind](txn, tables, content)
    store = open_store(directory, 64 * MIB)
    with store.read() as reader:
        assert (None, [], [], [content]) == (
            reader.content(digest),
            list(reader.signals("m")),
            reader.files_of(content),
            list(reader.unsound.contents()),
        )
        assert f"`{CONTENT[kind][0]}`" in reader.unsound.fault(content) or "turned" in reader.unsound.fault(content)
        with pytest.raises(KeyError):
            reader.fingerprint(content, "m")
    assert any("/a" in problem and "unsound" in problem for problem in store.check())
    assert content == store.write(lambda w: w.add_content(digest, fingerprint))
    with store.read() as reader:
        assert (content, [b"/a"], "") == (
            reader.content(digest),
            reader.files_of(content),
            reader.unsound.fault(content),
        )
    assert [] == store.check()
    store.close()


def test_an_unsound_content_keeps_no_other_file_from_other_hosts(tmp_path: Path, make_fingerprint: Make) -> None:
    """Its file counts as gone in changes, is none of all files, and is told of as soon as its row is written anew."""
    directory = str(tmp_path / "store")
    store = open_store(directory, 64 * MIB)
    store.write(lambda w: begin_sharing(w, is_shared=True))
    before = feed.changes(store, None, None, 10)["after"]
    bad, good = (store.write(methodcaller("add_content", digest_of(b"%d" % n), make_fingerprint(n))) for n in (1, 2))
    for path, content in ((b"/bad", bad), (b"/good", good)):
        store.write(methodcaller("put_file", path, FileRow(Stat(1, 2, 3), FileState.INDEXED, content)))
    store.close()
    with forging_rows.writing(directory) as (txn, tables):
        KINDS["width of -5"](txn, tables, bad)
    store = open_store(directory, 64 * MIB)

    def told(after: str | None) -> tuple[dict[str, bool], str]:
        page = feed.changes(store, None, after, 10)
        return {each["path"]: each["content"] is not None for each in page["changes"]}, page["after"]

    assert told(None)[0] == {"/good": True}
    changes, after = told(before)
    assert changes == {"/bad": False, "/good": True}
    store.write(lambda w: w.mend_content(bad, digest_of(b"1"), make_fingerprint(1)))
    assert told(after)[0] == {"/bad": True}
    store.close()


def test_an_unsound_content_without_files_is_removed(tmp_path: Path, make_fingerprint: Make) -> None:
    """With the names by which it was found."""
    store = open_store(str(tmp_path / "store"), 64 * MIB)
    content = store.write(lambda w: w.add_content(b"d" * 32, make_fingerprint(1, pixels=b"p" * 16)))
    store.close()
    with forging_rows.writing(str(tmp_path / "store")) as (txn, tables):
        KINDS["width of -5"](txn, tables, content)
    store = open_store(str(tmp_path / "store"), 64 * MIB)
    assert 1 == store.write(lambda w: w.prune([content]))
    assert [] == store.check()
    store.close()


def test_nothing_unsound_is_written(tmp_path: Path, make_fingerprint: Make) -> None:
    """A content out of its ranges is refused, and nothing changes."""
    store = open_store(str(tmp_path / "store"), 64 * MIB)
    with pytest.raises(ValueError, match="`pixels`"):
        store.write(lambda w: w.add_content(b"d" * 32, make_fingerprint(1, pixels=b"p" * 5)))
    assert [] == store.check()
    store.close()


def test_the_daemon_starts_on_unsound_rows_and_makes_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of each kind, each of another content: `store check` tells them before the start, and none after it."""
    monkeypatch.setattr(daemon_process_module, "PATIENCE_S", 240.0)
    with daemon_process(tmp_path, "--model", "bundled", str(tmp_path / "root")) as daemon:
        for seed in range(len(KINDS) + 1):
            drawing(seed).save(daemon.root / f"{seed}.png")
        daemon.start()
        daemon.settled()
        assert 0 == daemon.stop()
        before = _facts(daemon)
        with forging_rows.writing(str(daemon.store)) as (txn, tables):
            for content, forge in enumerate(KINDS.values(), 1):
                forge(txn, tables, content)
        told = daemon.ctl("store", "--store", str(daemon.store), "check").stdout
        assert len(KINDS) <= told.count("unsound")
        daemon.start()
        daemon.wait_for("backfill_complete")
        daemon.settled()
        assert daemon.events("content_unsound")
        assert "3.png" in daemon.ctl("find", str(daemon.root / "3.png")).stdout
        assert 0 == daemon.stop()
        assert before == _facts(daemon)
        checked = daemon.ctl("store", "--store", str(daemon.store), "check")
        assert (0, "") == (checked.returncode, checked.stderr)


TABLES = "files", "contents", "models", "alerts", "pending_alerts", "values", "decisions", "facts"


def test_the_daemon_starts_with_junk_in_any_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of a table in turn is a short value that is none of it."""
    monkeypatch.setattr(daemon_process_module, "PATIENCE_S", 240.0)
    with daemon_process(tmp_path) as daemon:
        drawing(1).save(daemon.root / "a.png")
        drawing(2).save(daemon.root / "b.png")
        daemon.start()
        daemon.settled()
        drawing(1).save(daemon.root / "copy.jpg")
        daemon.wait_for("near_duplicate")
        assert 0 == daemon.stop()
        for value in (b"", b"\xc1", b"[1]"):
            with forging_rows.writing(str(daemon.store)) as (txn, tables):
                for table in TABLES:
                    for key in [key for key, _ in txn.cursor(getattr(tables, table))]:
                        put(txn, getattr(tables, table), key, value)
                put(txn, tables.pending_alerts, number(7), value)
            daemon.start()
            daemon.settled()
            daemon.wait_until(lambda: daemon.status()["images"] == 3)
            assert 0 == daemon.stop()


def _facts(daemon: DaemonProcess) -> dict[bytes, tuple[object, ...]]:
    """The path of each file, and all that is derived from its picture."""
    store = open_store(str(daemon.store), 1 << 30)
    try:
        with store.read() as reader:
            found = {path: row.content for path, row in reader.walk(os.fsencode(daemon.root))}
            kept = {path: reader.fingerprint(content, bundled().id) for path, content in found.items() if content}
    finally:
        store.close()
    return {
        path: (each.signals.hashes[0], each.turned, each.width, each.pixels, each.features, _bytes(each))
        for path, each in kept.items()
    }


def _bytes(kept: Fingerprint) -> bytes | None:
    return None if kept.signals.fv is None else kept.signals.fv.tobytes()

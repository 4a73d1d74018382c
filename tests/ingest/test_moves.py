"""Renames taken over in the store: those that the kernel told of, and those that comparing finds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from first_hashes import first_hashes
from patience import tick

from shazimd.config import WatchConfig
from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.ingest.commit import Committer
from shazimd.ingest.moves import apply_move
from shazimd.ingest.reconcile import Reconciler
from shazimd.store.base import Store, Writer
from shazimd.types import FileRow, FileState, Stat
from shazimd.watch.filters import Filter

ROW = FileRow(Stat(1, 2, 3), FileState.FAILED, reason="as a test")
QUERY = Query(Fingerprint(Signals(first_hashes(1, 2), None), None, 4, 3, "PPM"), ())


def known(store: Store) -> list[bytes]:
    with store.read() as reader:
        return [path for path, _ in reader.walk(b"/")]


def put(store: Store, *paths: bytes, row: FileRow = ROW) -> None:
    def work(writer: Writer) -> None:
        for path in paths:
            writer.put_file(path, row)

    store.write(work)


def leave_untold(store: Store, path: bytes) -> None:
    store.write(lambda writer: writer.add_pending_alert(path, QUERY))


def test_what_was_told_moves_and_what_was_not_is_forgotten(store: Store) -> None:
    """An untold file lands anew where it turns up: its alert then has the name that it has."""
    put(store, b"/r/d/told.jpg", b"/r/d/sub/untold.jpg", b"/r/d2/untold.jpg")
    leave_untold(store, b"/r/d/sub/untold.jpg")
    leave_untold(store, b"/r/d2/untold.jpg")
    store.write(lambda writer: apply_move(writer, b"/r/d", b"/r/e"))
    assert [b"/r/d2/untold.jpg", b"/r/e/told.jpg"] == known(store)
    store.write(lambda writer: apply_move(writer, b"/r/d2/untold.jpg", b"/r/f.jpg"))
    assert [b"/r/e/told.jpg"] == known(store)


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("z", "a")])
@pytest.mark.parametrize("settled", [True, False])
def test_comparing_finds_a_move_whichever_place_comes_first(
    store: Store, committer: Committer, tmp_path: Path, old: str, new: str, settled: bool
) -> None:
    """Nothing is removed and found anew."""
    root = tmp_path / "root"
    for name in ("a", "z"):
        (root / name).mkdir(parents=True)
        (root / name / "stays.jpg").touch()
    (root / old / "1.jpg").write_bytes(b"moves")
    config = WatchConfig(path=str(root))
    now = time.time() + (60 if settled else 0)
    reconciler = Reconciler(store, committer, {os.fsencode(root): Filter(config)}, clock=lambda: now)

    def compare() -> tuple[set[bytes], int, int]:
        found: set[bytes] = set()
        moved = removed = 0
        reconciler.request(os.fsencode(root))
        while (findings := reconciler.step()) is not None:
            found.update(findings.look + findings.unsettled)
            moved, removed = moved + findings.moved, removed + findings.removed
        return found, moved, removed

    for path in compare()[0]:
        stat = os.stat(path)
        row = FileRow(Stat.of(stat), FileState.FAILED, reason="as a test")
        put(store, path, row=row)
    tick()
    (root / old / "1.jpg").rename(root / new / "2.jpg")
    _, moved, removed = compare()
    assert (1, 0) == (moved, removed)
    assert {os.fsencode(root / new / "2.jpg")} == {path for path in known(store) if not path.endswith(b"stays.jpg")}
    moved_here = os.fsencode(root / new / "2.jpg")
    assert ({moved_here}, 0, 0) == compare()  # its ctime changed: it is found until it was read
    put(store, moved_here, row=FileRow(Stat.of(os.stat(moved_here)), FileState.FAILED, reason="as a test"))
    assert (set(), 0, 0) == compare()


def test_a_scan_may_be_ahead_of_the_rename_of_a_directory(store: Store) -> None:
    """It has moved a file whose old path was missing. The rename moves the others, and keeps that row."""
    ahead = FileRow(Stat(7, 8, 9), FileState.FAILED, reason="moved by a scan")
    put(store, b"/r/d/a.jpg", b"/r/d/sub/b.jpg")
    put(store, b"/r/e/sub/ahead.jpg", row=ahead)
    store.write(lambda writer: apply_move(writer, b"/r/d", b"/r/e"))
    assert [b"/r/e/a.jpg", b"/r/e/sub/ahead.jpg", b"/r/e/sub/b.jpg"] == known(store)
    with store.read() as reader:
        assert ahead == reader.file(b"/r/e/sub/ahead.jpg")

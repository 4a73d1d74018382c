"""Failed files and the last alert of each root, as the status names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from operator import methodcaller
from pathlib import Path

import pytest

from shazimd.daemon import root_facts
from shazimd.daemon.root_facts import FactsOfRoots
from shazimd.ingest.alerts import AlertRecord
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Match, Similarities, Stat, Verdict

ROOTS = [b"/a", b"/b"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "store"), 1 << 24)) as store:
        yield store


def alert(store: Store, path: bytes) -> int:
    match = Match(b"/a/known.jpg", 1, 0.9, Similarities((0.9, 0.9, None)), Verdict.COPY, 64, 48)
    return store.write(lambda writer: writer.add_alert(AlertRecord.of(path, match, 1, 1.0).encode()))


def fail(store: Store, *paths: bytes) -> None:
    row = FileRow(Stat(1, 1, 1), FileState.FAILED, reason="not_an_image: no")
    for path in paths:
        store.write(methodcaller("put_file", path, row))


def last_paths(facts: FactsOfRoots) -> list[str | None]:
    return [fact.last_alert and fact.last_alert["path"] for fact in facts.of(ROOTS)]


def test_the_last_alert_of_each_root_is_that_of_its_newest_file(store: Store) -> None:
    """Those of before the start, and those that come later; an alert of no root is nobody's."""
    alert(store, b"/a/1.jpg")
    for number in range(20):
        alert(store, b"/b/%d.jpg" % number)
    facts = FactsOfRoots(store)
    assert last_paths(facts) == ["/a/1.jpg", "/b/19.jpg"]
    alert(store, b"/elsewhere/2.jpg")
    alert(store, b"/a/2.jpg")
    assert last_paths(facts) == ["/a/2.jpg", "/b/19.jpg"]
    assert next(fact.last_alert for fact in facts.of([b"/elsewhere"])) is not None


def test_a_look_back_for_alerts_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root without a recent alert has none."""
    monkeypatch.setattr(root_facts, "ALERTS_LOOKED_AT_MAX", 3)
    alert(store, b"/a/1.jpg")
    for number in range(3):
        alert(store, b"/b/%d.jpg" % number)
    assert last_paths(FactsOfRoots(store)) == [None, "/b/2.jpg"]


def test_failed_files_are_counted_for_each_root(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again when their number changes, and soon only where that takes no time."""
    facts = FactsOfRoots(store)
    assert [fact.failed for fact in facts.of(ROOTS)] == [0, 0]
    fail(store, b"/a/1.jpg", b"/b/c/2.jpg", b"/b/3.jpg", b"/elsewhere/4.jpg")
    assert [fact.failed for fact in facts.of(ROOTS)] == [1, 2]
    monkeypatch.setattr(root_facts, "SHARE_MAX", 0.0)
    store.write(lambda writer: writer.remove_file(b"/b/3.jpg"))
    assert [fact.failed for fact in facts.of(ROOTS)] == [1, 2]
    monkeypatch.setattr(root_facts, "SHARE_MAX", 1e9)
    assert [fact.failed for fact in facts.of(ROOTS)] == [1, 1]
    store.write(lambda writer: writer.remove_file(b"/b/c/2.jpg"))
    store.write(lambda writer: writer.remove_file(b"/a/1.jpg"))
    store.write(lambda writer: writer.remove_file(b"/elsewhere/4.jpg"))
    assert [fact.failed for fact in facts.of(ROOTS)] == [0, 0]

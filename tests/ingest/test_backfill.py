"""Derived data that is missing, damaged or of another version is made anew in the background."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from operator import methodcaller
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from first_hashes import first_hashes
from packed_features import packed
from patience import PATIENCE_S, wait_for
from spoiled_rows import spoil
from structlog.testing import capture_logs

from shazimd.errors import NotAnImage, WorkerLost
from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.index.flat import FlatIndex
from shazimd.ingest import backfill, disk, patience
from shazimd.ingest.backfill import Backfill
from shazimd.ingest.commit import Committer
from shazimd.ingest.disk import Picture, ReadFile
from shazimd.ingest.lanes import Jobs
from shazimd.ingest.memory_budget import MemoryBudget
from shazimd.ingest.patience import NO_REMOTE, RemoteRoots
from shazimd.search.library import Library
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.store.tables import number
from shazimd.types import FileRow, FileState, PictureFacts, Relation, Stat, Verdict, Verification
from shazimd.words.packing import VERSION

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo


class FakeDecoders:
    """Makes the same features and vector of all bytes but "bad"."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []
        self.damaged = False

    def fingerprint(self, data: Picture, model: ModelInfo | None) -> Future[Fingerprint]:
        self.decoded.append(bytes(data))
        done: Future[Fingerprint] = Future()
        if bytes(data) == b"bad":
            done.set_exception(NotAnImage("no picture"))
        else:
            fv = np.eye(1, 8, dtype=np.float32)[0]
            signals, features = Signals(first_hashes(1, 1), fv), packed()
            done.set_result(Fingerprint(signals, "m", 10, 10, "PNG", features=features, damaged=self.damaged))
        return done

    def arrival(self, data: Picture, model: ModelInfo | None) -> Future[Query]:
        raise NotImplementedError


FAKE_MODEL: Any = SimpleNamespace(id="m", output_width=8)


class Bench:
    """Files with known contents; ``run`` fills what is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "r"
        self.folder.mkdir()
        self.store = open_store(str(folder / "store"), 64 << 20, VERSION)
        self.decoders = FakeDecoders()
        self.committer = Committer(self.store)
        self.jobs = Jobs(threads=2)
        self.memory = MemoryBudget(1 << 20)
        self.library: Library | None = None
        self.remote = NO_REMOTE
        self.compares = threading.Event()

    def close(self) -> None:
        self.jobs.close()
        self.committer.close()
        if self.library:
            self.library.close()
        self.store.close()

    def add(self, name: str, data: bytes, features: bytes) -> None:
        path = self.folder / name
        path.write_bytes(data)

        def work(w: Writer) -> None:
            content = w.add_content(
                name.encode(), Fingerprint(Signals(first_hashes(1, 1), None), None, 1, 1, "P", features=features)
            )
            row = FileRow(Stat.of(path.stat()), FileState.INDEXED, content)
            w.put_file(os.fsencode(path), row)

        self.store.write(work)

    def run(self, *, with_model: bool = False, features_version: int | None = VERSION) -> None:
        self.open_library(FAKE_MODEL if with_model else None, features_version)
        self.start()
        wait_for(lambda: not self.jobs.pending())

    def open_library(self, model: ModelInfo | None = None, features_version: int | None = VERSION) -> Library:
        self.library = Library(
            self.store, lambda _, __: FlatIndex(), model, lambda: False, features_version=features_version
        )
        self.library.loaded.result(PATIENCE_S)  # before the start: a result may be had before it calls the backfill
        return self.library

    def start(self) -> None:
        assert self.library is not None
        self.backfill = Backfill(
            self.library, self.committer, self.decoders, self.jobs, self.memory, self.remote, os.path.dirname
        )
        self.backfill.compare = self.compares.set
        self.backfill.start()

    def relate(self) -> None:
        """Contents 1 and 3 are copies of 2, and all have been compared."""

        def work(w: Writer) -> None:
            w.relations.put([Relation(2, known, Verification(Verdict.COPY, 30, 0.9)) for known in (1, 3)])
            w.relations.put_facts(1, PictureFacts("camera"))
            w.relations.unmark((1, 2, 3))

        self.store.write(work)

    def features(self) -> list[bytes]:
        with self.store.read() as reader:
            return [reader.features(content) for content, _ in reader.signals(None)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_files_wait_for_memory(bench: Bench) -> None:
    """No file is read while others have taken all of the budget; then each is."""
    for name in ("a", "b", "c"):
        bench.add(name, name.encode(), b"")
    bench.open_library()
    with bench.memory.taking(1 << 20):
        bench.start()
        wait_for(bench.memory._turn.locked)
        assert bench.decoders.decoded == []
    wait_for(lambda: not bench.jobs.pending())
    assert sorted(bench.decoders.decoded) == [b"a", b"b", b"c"]


def test_features_are_made_anew(bench: Bench) -> None:
    """Of another version, damaged, or never made; once each, and what is up to date is left alone."""
    for name, features in (("old", packed(1)), ("new", packed()), ("torn", packed()[:20]), ("none", b"")):
        bench.add(name, name.encode(), features)
    with capture_logs() as logs:
        bench.run()
    assert sorted(bench.decoders.decoded) == [b"none", b"old", b"torn"]
    assert bench.features() == [packed()] * 4
    assert bench.library is not None
    assert [content in bench.library.words for content in range(1, 5)] == [True] * 4
    assert bench.library.filling.left == 0
    lines = {line["event"]: line for line in logs}
    assert lines["features_damaged"]["contents"] == 1
    assert (lines["backfill_started"]["contents"], lines["backfill_started"]["example"]) == (
        3,
        os.fsencode(bench.folder / "old"),
    )
    assert "backfill_complete" in lines
    assert bench.store.check() == []


@pytest.mark.parametrize("table", ["features", "vectors"])
def test_a_damaged_row_that_a_question_meets_is_made_anew(bench: Bench, table: str) -> None:
    """With all words in a segment no start reads the row of a store closed cleanly. The data read as missing until
    then, and a line names the file; other data of the content stay."""
    for name in ("a", "b"):
        bench.add(name, name.encode(), b"")
    bench.run(with_model=True)
    assert bench.library is not None
    bench.library.close()
    bench.open_library(FAKE_MODEL)
    bench.start()
    wait_for(lambda: not bench.jobs.pending())
    spoil(bench.store, table)
    with capture_logs() as logs:
        with bench.store.read() as reader:
            first, second = (reader.fingerprint(content, "m") for content in (1, 2))
        wait_for(lambda: not bench.jobs.pending())
    lacks_vector = table == "vectors"
    assert [(packed(), True), (b"" if not lacks_vector else packed(), not lacks_vector)] == [
        (each.features, each.signals.fv is not None) for each in (second, first)
    ]
    assert [b"a", b"a", b"b"] == sorted(bench.decoders.decoded)
    with bench.store.read() as reader:
        assert [(packed(), True)] * 2 == [
            (each.features, each.signals.fv is not None)
            for each in (reader.fingerprint(content, "m") for content in (1, 2))
        ]
    (line,) = [line for line in logs if line["event"] == "derived_data_unsound"]
    assert (line["content"], line["path"]) == (1, os.fsencode(bench.folder / "a"))
    assert bench.store.check() == []


def test_a_damaged_row_of_a_file_that_is_away_is_removed(bench: Bench) -> None:
    """Its content then counts as outdated, and is made when its root was scanned."""
    bench.add("a", b"a", packed())
    bench.run()
    spoil(bench.store, "features")
    away = bench.folder.rename(bench.folder.with_name("away"))
    assert bench.features() == [b""]
    wait_for(lambda: not bench.jobs.pending())
    assert bench.library is not None
    assert (bench.store.check(), bench.library.filling.left) == ([], 1)
    away.rename(bench.folder)
    bench.backfill.try_again(os.fsencode(bench.folder))
    wait_for(lambda: not bench.jobs.pending())
    assert bench.features() == [packed()]


@pytest.mark.parametrize(
    ("table", "place", "content", "marked", "left"),
    [
        ("relations", 0, 1, [1, 2], [(2, 3)]),
        ("relations", 1, 2, [1, 2], [(2, 3)]),
        ("facts", 0, 1, [1], [(2, 1), (2, 3)]),
    ],
    ids=["relation", "other side of a relation", "facts"],
)
def test_a_damaged_relation_and_damaged_facts_are_to_be_found_anew(
    bench: Bench, table: str, place: int, content: int, marked: list[int], left: list[tuple[int, int]]
) -> None:
    """By the comparison, which starts: nothing is decoded, and other relations stay."""
    for name in ("a", "b", "c"):
        bench.add(name, name.encode(), packed())
    bench.relate()
    bench.run()
    spoil(bench.store, table, place)
    with capture_logs() as logs:
        with bench.store.read() as reader:
            assert set(left) <= {pair[:2] for pair in reader.relations.copies()}
            facts = reader.relations.facts(1)
        wait_for(lambda: not bench.jobs.pending())
    with bench.store.read() as reader:
        assert [pair[:2] for pair in reader.relations.copies()] == left
        assert (reader.relations.unrelated(9), reader.relations.facts(1)) == (marked, facts)
    assert (facts is None) == (table == "facts")
    assert (bench.decoders.decoded, bench.compares.is_set()) == ([], True)
    (line,) = [line for line in logs if line["event"] == "derived_data_unsound"]
    assert (line["content"], line["path"]) == (content, os.fsencode(bench.folder / "abc"[content - 1]))
    assert bench.store.check() == []
    assert bench.library is not None
    assert not bench.library.filling.is_wanted(content)


@pytest.mark.parametrize("row", [None, b"\xc1"], ids=["unknown", "unsound"])
def test_a_damaged_relation_of_a_content_that_cannot_be_compared_is_removed(bench: Bench, row: bytes | None) -> None:
    """The removal leaves no mark on the content: the comparison would take it up without end."""
    for digest in (b"a" * 32, b"b" * 32, b"c" * 32):
        made = Fingerprint(Signals(first_hashes(1, 1), None), None, 1, 1, "P", features=packed())
        bench.store.write(methodcaller("add_content", digest, made))
    bench.relate()
    bench.run()
    bench.store.write(
        lambda w: w._txn.delete(number(1), db=w._t.contents) if row is None else w.put_row("contents", number(1), row)
    )
    spoil(bench.store, "relations")
    with bench.store.read() as reader:
        assert [pair[:2] for pair in reader.relations.copies()] == [(2, 3)]
    wait_for(lambda: not bench.jobs.pending())
    with bench.store.read() as reader:
        assert (reader.relations.partners(1), reader.relations.partners(2), reader.relations.unrelated(9)) == (
            [],
            [3],
            [2],
        )


def test_new_features_are_compared(bench: Bench) -> None:
    bench.add("a", b"a", b"")
    bench.run()
    assert bench.compares.is_set()


def test_a_damaged_picture_is_known_as_damaged_from_then_on(bench: Bench) -> None:
    """One that was indexed before this was kept counted as whole, and could be kept in place of a whole file."""
    bench.add("old", b"cut", features=bytes(8))
    bench.decoders.damaged = True
    bench.run()
    with bench.store.read() as reader:
        assert [reader.appearance(content).damaged for content, _ in reader.signals(None)] == [True]


def test_vectors_and_features_are_made_in_one_pass(bench: Bench) -> None:
    """One decode gives both."""
    bench.add("a", b"a", packed(1))
    bench.add("b", b"b", packed())
    bench.run(with_model=True)
    assert sorted(bench.decoders.decoded) == [b"a", b"b"]
    with bench.store.read() as reader:
        assert reader.counts()["vectors"] == 2
    assert bench.features() == [packed()] * 2


def test_no_features_are_wanted_where_the_workers_make_none(bench: Bench) -> None:
    """With [match] verify off."""
    bench.add("a", b"a", b"")
    bench.run(features_version=None)
    assert bench.decoders.decoded == []


def test_a_file_that_fails_or_is_gone_is_passed_over(bench: Bench) -> None:
    """Its content stays as it is, and the others are made. Those of missing files are still counted as outdated."""
    for name in ("bad", "gone", "good"):
        bench.add(name, name.encode(), packed(1))
    (bench.folder / "gone").unlink()
    with capture_logs() as logs:
        bench.run()
    assert bench.features() == [b"", b"", packed()]
    assert bench.library is not None
    assert bench.library.filling.left == 1
    (line,) = [line for line in logs if line["event"] == "backfill_incomplete"]
    assert (line["contents"], line["example"]) == (1, os.fsencode(bench.folder / "gone"))
    assert "backfill_complete" not in [line["event"] for line in logs]
    assert [line["code"] for line in logs if line["event"] == "backfill_failed"] == ["not_an_image"]


def test_a_root_that_was_away_is_made_when_it_was_scanned(bench: Bench) -> None:
    """Not by the scan of another; until then its contents are outdated, and no line says that all is done."""
    away, root = bench.folder.with_name("away"), os.fsencode(bench.folder)
    for name in ("a", "b"):
        bench.add(name, name.encode(), packed(1))
    bench.folder.rename(away)
    with capture_logs() as logs:
        bench.run()
        for _ in range(2):  # a fault that lasts is told once
            bench.backfill.try_again(root)
            wait_for(lambda: not bench.jobs.pending())
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == [
        "backfill_started",
        "backfill_incomplete",
    ]
    assert bench.library is not None
    assert (bench.library.filling.left, bench.features()) == (2, [b"", b""])
    away.rename(bench.folder)
    bench.backfill.try_again(b"/another")
    assert bench.library.filling.left == 2
    with capture_logs() as logs:
        bench.backfill.try_again(root)
        wait_for(lambda: not bench.jobs.pending())
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == ["backfill_complete"]
    assert (bench.library.filling.left, bench.features()) == (0, [packed()] * 2)


def test_a_picture_whose_worker_was_lost_is_made_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that the kernel has killed is no fault of the picture; until then no line says that all is done."""
    root = os.fsencode(bench.folder)
    bench.add("a", b"picture", b"")
    lost: Future[Fingerprint] = Future()
    lost.set_exception(WorkerLost("the worker was killed"))
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(bench.decoders, "fingerprint", lambda *_: lost)
        bench.run()
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == [
        "backfill_started",
        "backfill_incomplete",
    ]
    bench.backfill.try_again(root)
    wait_for(lambda: not bench.jobs.pending())
    assert [packed()] == bench.features()


def test_alerts_do_not_wait_for_a_root_that_is_away(bench: Bench) -> None:
    """The disk may be unplugged for weeks."""
    bench.add("a", b"a", b"")
    (bench.folder / "a").unlink()
    bench.run(with_model=True)
    assert bench.library is not None
    assert not bench.library.awaits_vectors()


def test_a_root_that_does_not_answer_is_passed_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its contents stay outdated until it was scanned, and those of other roots are filled."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.01)
    for name in ("nas1", "nas2", "nas3", "local"):
        bench.add(name, b"picture", b"")
    bench.remote = RemoteRoots(lambda path: b"/nas" if b"nas" in path else None)
    answers = threading.Event()
    read = disk.read_whole

    def read_whole(path: bytes, *arguments: Any, **options: Any) -> ReadFile | None:
        assert b"nas" not in path or answers.wait(PATIENCE_S)
        return read(path, *arguments, **options)

    monkeypatch.setattr(backfill, "read_whole", read_whole)
    bench.run()
    assert [b"", b"", b"", packed()] == bench.features()
    answers.set()


def test_progress_is_a_number_that_falls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """From all that are outdated to none."""
    for n in range(5):
        bench.add(str(n), b"%d" % n, packed(1))
    seen: list[int] = []
    seeing = threading.Lock()
    decode: Callable[..., Future[Fingerprint]] = bench.decoders.fingerprint

    def spying(data: bytes, model: ModelInfo | None) -> Future[Fingerprint]:
        assert bench.library is not None
        with seeing:
            seen.append(bench.library.filling.left)
        return decode(data, model)

    monkeypatch.setattr(bench.decoders, "fingerprint", spying)
    bench.run()
    assert seen[0] == 5
    assert seen == sorted(seen, reverse=True)


def test_a_model_that_comes_meanwhile_is_used_for_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backfill of features that ends with another model than it began with begins again."""
    make = bench.decoders.fingerprint

    def with_model(data: Picture, model: ModelInfo | None) -> Future[Fingerprint]:
        assert bench.library is not None
        if bench.library.model is None:
            bench.library.use_model(FAKE_MODEL)
        return make(data, model)

    monkeypatch.setattr(bench.decoders, "fingerprint", with_model)
    bench.jobs.close()
    bench.jobs = Jobs(threads=1)  # the picture is decoded before the backfill looks for the next
    bench.add("a", b"1", b"")
    bench.run()
    assert bench.library is not None
    assert bench.library.filling.is_complete("m")
    assert not bench.library.awaits_vectors()

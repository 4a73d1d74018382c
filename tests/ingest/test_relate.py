"""Relations found by an earlier version of the judgement are found anew; until then they stay in use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Never, TypeVar

import numpy as np
import pytest
from first_hashes import first_hashes
from structlog.testing import capture_logs

from shazimd.errors import WorkerFailed
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.flat import FlatIndex
from shazimd.ingest.commit import Committer
from shazimd.ingest.patience import RemoteRoots, Stalled
from shazimd.ingest.relate import Comparers, Relating, renew_relations
from shazimd.search.library import Library
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import (
    JUDGE,
    Evidence,
    FileRow,
    FileState,
    Mapping,
    PictureFacts,
    Relation,
    Stat,
    Verdict,
    Verification,
)
from shazimd.words.packing import FEATURE, HEADER, VERSION

T = TypeVar("T")

COPY = Verification(Verdict.COPY, 30, 0.9)
VARIANT = Verification(Verdict.VARIANT, 30, 0.6)
NOTHING = Verification(None)
OLD = Evidence(("crop",), (), 0.5)


def features(word: int) -> bytes:
    """Features with one word, which no other content shares: nothing but an outdated relation proposes a pair."""
    rows = np.zeros(3, FEATURE)
    rows["word"] = word
    return HEADER.pack(VERSION, 0, 10, 10, 3) + rows.tobytes() + b"luma"


class _Verified(Future[list[Verification]]):
    """Does some work when its result is asked for, outside of any transaction."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def result(self, timeout: float | None = None) -> list[Verification]:
        self._meanwhile()
        return super().result(timeout)


class Renewal:
    """A store with contents 1 to 4, each with features of its own, and the relations of an earlier judge."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.verdicts: dict[frozenset[bytes], Verification] = {}
        self.asked: list[frozenset[bytes]] = []
        self.fails = False
        self.meanwhile: Callable[[], object] = lambda: None

    def verify(self, asked: bytes, known: Sequence[bytes]) -> Future[list[Verification]]:
        done = _Verified(self.meanwhile)
        pairs = [frozenset((asked, each)) for each in known]
        self.asked += pairs
        if self.fails:
            done.set_exception(WorkerFailed("worker_died", "killed"))
        else:
            done.set_result([self.verdicts.get(pair, NOTHING) for pair in pairs])
        return done

    def judge(self, a: int, b: int, found: Verification) -> None:
        self.verdicts[frozenset((features(a), features(b)))] = found

    def relate(self, *, whole: bool = True) -> None:
        """All steps, or one."""
        comparers = Comparers(self.verify, _unasked, _unasked)
        with closing(Committer(self.store)) as committer, closing(_library(self.store)) as library:
            library.loaded.result()
            relating = Relating(library, committer, comparers)
            while relating.step() and whole:
                assert relating.status()["left"] >= 0

    def between(self, a: int, b: int) -> Relation | None:
        with self.store.read() as reader:
            return reader.relations.between(a, b)

    def left(self) -> list[int]:
        with self.store.read() as reader:
            return reader.relations.unrelated(99)


def _library(store: Store) -> Library:
    return Library(store, lambda _store, _model: FlatIndex())


def _unasked(*_args: object) -> Never:
    raise AssertionError("no file can be read here")


@pytest.fixture
def renewal(tmp_path: Path) -> Iterator[Renewal]:
    with closing(open_store(str(tmp_path / "store"), 1 << 26, VERSION)) as store:
        for n in range(1, 5):
            made = Fingerprint(Signals(first_hashes(n << 40, n << 50), None), None, 9, 9, "PNG", features=features(n))
            store.write(methodcaller("add_content", b"%032d" % n, made))
        pairs = [Relation(2, 1, COPY, OLD, JUDGE - 1), Relation(3, 1, COPY, OLD, JUDGE - 1), Relation(4, 1, COPY)]
        store.write(lambda w: [w.relations.put(pairs), w.relations.unmark(range(5)), w.set("judge", JUDGE - 1)])
        yield Renewal(store)


def test_outdated_relations_are_confirmed_replaced_or_denied(renewal: Renewal) -> None:
    """Those of the present judge are not asked again; signs of before go with the verdict of before."""
    renewal.judge(2, 1, VARIANT)
    renew_relations(renewal.store)
    assert renewal.between(2, 1) == Relation(2, 1, COPY, OLD, JUDGE - 1)
    renewal.relate()
    kept = renewal.between(2, 1)
    assert kept is not None
    assert (kept.verification, kept.evidence, kept.judge) == (VARIANT, None, JUDGE)
    assert renewal.between(3, 1) is None
    assert renewal.between(4, 1) == Relation(4, 1, COPY)
    assert frozenset((features(4), features(1))) not in renewal.asked
    assert renewal.left() == []


def test_a_new_judge_asks_about_each_content_once(renewal: Renewal) -> None:
    """All contents with features are to be related again, and not at the next start."""
    with capture_logs() as logs:
        renew_relations(renewal.store)
        assert renewal.left() == [1, 2, 3, 4]
        renewal.relate()
        renew_relations(renewal.store)
    assert renewal.left() == []
    told = [(line["contents"], line["judge"], line["found"]) for line in logs if line["event"] == "relations_outdated"]
    assert told == [(4, JUDGE, JUDGE - 1)]


def test_a_stop_in_the_middle_loses_nothing(renewal: Renewal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is found at the next start."""
    monkeypatch.setattr("shazimd.ingest.relate.BATCH", 1)
    renewal.judge(3, 1, COPY)
    renew_relations(renewal.store)
    renewal.relate(whole=False)
    renew_relations(renewal.store)
    assert renewal.left() == [2, 3, 4]
    renewal.relate()
    assert (renewal.left(), renewal.between(2, 1)) == ([], None)
    assert renewal.between(3, 1) == Relation(1, 3, COPY, None, JUDGE)


def test_a_worker_that_fails_denies_nothing(renewal: Renewal) -> None:
    """The relation of before stays, and is outdated."""
    renewal.fails = True
    renew_relations(renewal.store)
    renewal.relate()
    assert renewal.between(2, 1) == Relation(2, 1, COPY, OLD, JUDGE - 1)


class _Share(RemoteRoots):
    """A file system that answers or does not."""

    def __init__(self) -> None:
        super().__init__(lambda _: b"/nas")
        self.answers = False

    def read(self, path: bytes, work: Callable[[Callable[[object], object]], T]) -> T:
        if not self.answers:
            raise Stalled("no answer")
        return work(lambda _: None)


def test_signs_of_a_file_that_does_not_answer_are_read_later(renewal: Renewal, tmp_path: Path) -> None:
    """A disk that spins up must not cost a picture its facts for good; the others are compared meanwhile."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"picture")
    names = [os.fsencode(photo), os.fsencode(tmp_path / "other name")]
    os.link(*names)
    row = FileRow(Stat.of(photo.stat()), FileState.INDEXED, 2)
    for name in names:
        renewal.store.write(methodcaller("put_file", name, row))
    facts: Future[PictureFacts] = Future()
    facts.set_result(PictureFacts("camera", "", 90))
    share = _Share()
    renewal.store.write(lambda writer: [writer.relations.mark(content) for content in (2, 3)])
    with closing(Committer(renewal.store)) as committer, closing(_library(renewal.store)) as library:
        library.loaded.result()
        relating = Relating(library, committer, Comparers(renewal.verify, _unasked, lambda _: facts), share)
        while relating.step():
            continue
        assert [2] == renewal.left()
        share.answers = True
        assert not relating.step()
        assert relating.try_again()
        while relating.step():
            continue
        assert ([], False) == (renewal.left(), relating.try_again())
    with renewal.store.read() as reader:
        assert facts.result() == reader.relations.facts(2)


def test_facts_that_were_damaged_are_read_again(renewal: Renewal, tmp_path: Path) -> None:
    """Though all copies of the content have their signs, for which its file was read at first."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"picture")
    row = FileRow(Stat.of(photo.stat()), FileState.INDEXED, 2)
    facts: Future[PictureFacts] = Future()
    facts.set_result(PictureFacts("camera", "", 90))

    def work(writer: Writer) -> None:
        writer.put_file(os.fsencode(photo), row)
        writer.relations.put([Relation(2, 1, COPY, OLD)])
        writer.relations.mark(2)

    renewal.store.write(work)
    with closing(Committer(renewal.store)) as committer, closing(_library(renewal.store)) as library:
        library.loaded.result()
        relating = Relating(library, committer, Comparers(renewal.verify, _unasked, lambda _: facts))
        while relating.step():
            continue
    with renewal.store.read() as reader:
        assert (reader.relations.facts(2), reader.relations.facts(1)) == (facts.result(), None)
    assert (renewal.left(), renewal.between(2, 1)) == ([], Relation(2, 1, COPY, OLD))


class _Read(Future[Evidence]):
    """Signs that a worker reads; counts how many are being read when the first is waited for."""

    def __init__(self, being_read: list[_Read], seen: list[int]) -> None:
        super().__init__()
        self._being_read, self._seen = being_read, seen
        being_read.append(self)
        self.set_result(OLD)

    def result(self, timeout: float | None = None) -> Evidence:
        self._seen.append(len(self._being_read))
        self._being_read.remove(self)
        return super().result(timeout)


def test_the_signs_of_two_pairs_are_read_at_a_time(renewal: Renewal, tmp_path: Path) -> None:
    """Each takes a worker 25 ms and more; more than two at a time would hold more files in memory."""
    upright = Mapping(1.0, 0.0, False, (0.0, 0.0, 1.0, 1.0))

    def work(writer: Writer) -> None:
        for content in range(1, 5):
            (tmp_path / f"{content}.png").write_bytes(b"picture")
            row = FileRow(Stat.of((tmp_path / f"{content}.png").stat()), FileState.INDEXED, content)
            writer.put_file(os.fsencode(tmp_path / f"{content}.png"), row)
            writer.relations.put_facts(content, PictureFacts())
        writer.relations.put([Relation(1, other, replace(COPY, mapping=upright)) for other in (2, 3, 4)])
        writer.relations.mark(1)

    renewal.store.write(work)
    being_read: list[_Read] = []
    seen: list[int] = []
    with closing(Committer(renewal.store)) as committer, closing(_library(renewal.store)) as library:
        library.loaded.result()
        comparers = Comparers(renewal.verify, lambda *_: _Read(being_read, seen), _unasked)
        while Relating(library, committer, comparers).step():
            continue
    assert (max(seen), being_read) == (2, [])
    found = [renewal.between(1, other) for other in (2, 3, 4)]
    assert [OLD] * 3 == [each.evidence for each in found if each is not None]


def test_a_relation_found_meanwhile_is_not_denied(renewal: Renewal) -> None:
    """An alert stored it while the pair was verified."""
    renewal.meanwhile = lambda: renewal.store.write(lambda w: w.relations.put([Relation(2, 1, VARIANT)]))
    renew_relations(renewal.store)
    renewal.relate()
    assert renewal.between(2, 1) == Relation(2, 1, VARIANT)

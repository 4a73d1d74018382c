"""A known picture that comes back without a present vector or present local features: they are made, and its alert
waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from first_hashes import first_hashes
from ingest_bench import MODEL, Bench
from packed_features import packed
from patience import PATIENCE_S, wait_for
from spoiled_rows import spoil
from structlog.testing import capture_logs

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.ingest.backfill import Backfill
from shazimd.ingest.decision import Decider, Decision
from shazimd.ingest.ingest import Outcome
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.search.filling import Filling
from shazimd.store.base import Writer
from shazimd.types import ContentId, FileRow, FileState, Stat, digest_of
from shazimd.words.packing import VERSION

OTHER_MODEL = replace(MODEL, id="n")


class Filled:
    """A bench with a backfill, whose pictures all look the same. ``known`` is there, ``gone`` was deleted."""

    def __init__(self, bench: Bench, jobs: Jobs) -> None:
        self.bench, self._jobs = bench, jobs
        bench.decoders.number = 7
        bench.look("known", b"one")
        gone = bench.look("gone", b"two")
        row = bench.row(gone)
        assert row is not None
        assert row.content is not None
        self.content: ContentId = row.content
        os.remove(gone)
        bench.ingest.ingest(gone, deleted=True)
        self.backfill = self.make()

    def make(self) -> Backfill:
        bench = self.bench
        return Backfill(bench.library, bench.committer, bench.decoders, self._jobs, bench.ingest.memory)

    def start(self) -> None:
        self.backfill.start()
        self.settle()

    def settle(self) -> None:
        self.backfill.resume()
        wait_for(lambda: not self._jobs.pending())

    def decide(self) -> None:
        for pending, is_last in self.bench.ingest.pending.due(is_scanning=False, is_behind=False):
            assert self.bench.ingest.pending.decide(pending, is_last=is_last)


@pytest.fixture
def filled(bench: Bench) -> Iterator[Filled]:
    with closing(Jobs(threads=2)) as jobs:
        yield Filled(bench, jobs)


def test_a_file_comes_back_after_a_change_of_the_model(filled: Filled) -> None:
    """Its vector is made without a restart, and its alert, which waits for that, has the cosine."""
    bench = filled.bench
    bench.library.use_model(OTHER_MODEL)
    filled.start()
    bench.look("again", b"two")
    assert (bench.outcome, bench.library.filling.left) == (Outcome.PUT_OFF, 1)
    assert bench.ingest.pending.due(is_scanning=False, is_behind=False) == []
    filled.settle()
    filled.decide()
    assert bench.told()[-1] == ("again", "known")
    with bench.store.read() as reader:
        assert reader.made(filled.content, "n")[1]
        assert [alert["dfv"] for _, alert in reader.latest_alerts(1)] == [pytest.approx(1, abs=1e-3)]
    assert bench.library.filling.left == 0


def test_a_file_comes_back_after_an_upgrade(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its local features are made, and its alert is decided with them; once, though the file comes again."""
    bench, asked = filled.bench, list[bytes]()
    bench.library.features_version, bench.decoders.features = VERSION, packed()
    filled.start()
    decide = Decider.by_search

    def by_search(self: Decider, file: Any, query: Any, *rest: Any) -> Decision:
        asked.append(query.features)
        return decide(self, file, query, *rest)

    monkeypatch.setattr(Decider, "by_search", by_search)
    bench.look("again", b"two")
    filled.settle()
    filled.decide()
    assert (asked, bench.told()[-1]) == ([packed()], ("again", "known"))
    assert filled.content in bench.library.words
    decoded = len(bench.decoders.decoded)
    bench.look("and again", b"two")
    filled.settle()
    assert len(bench.decoders.decoded) == decoded


def test_a_file_comes_back_after_its_vector_was_damaged(filled: Filled) -> None:
    """Its alert waits for the vector, which is made though no file was there when the damage was found."""
    bench = filled.bench
    filled.start()
    spoil(bench.store, "vectors", filled.content - 1)
    with bench.store.read() as reader:
        assert reader.fingerprint(filled.content, "m").model is None
    filled.settle()
    spoiled = bench.store.check()
    bench.look("again", b"two")
    filled.settle()
    filled.decide()
    with bench.store.read() as reader:
        assert reader.made(filled.content, "m")[1]
        assert [alert["dfv"] for _, alert in reader.latest_alerts(1)] == [pytest.approx(1, abs=1e-3)]
    assert (spoiled, bench.told()[-1]) == ([], ("again", "known"))


def test_an_alert_of_a_damaged_picture_waits_for_it(filled: Filled) -> None:
    """The damage is found by the decision on the file itself."""
    bench = filled.bench
    bench.library.filling.complete("m")
    spoil(bench.store, "vectors", filled.content - 1)
    bench.look("again", b"two")
    assert bench.outcome is Outcome.PUT_OFF
    filled.settle()
    filled.decide()
    with bench.store.read() as reader:
        assert reader.made(filled.content, "m")[1]
        assert [alert["dfv"] for _, alert in reader.latest_alerts(1)] == [pytest.approx(1, abs=1e-3)]
    assert bench.told()[-1] == ("again", "known")


def test_an_alert_that_waits_is_decided_after_a_restart(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start has the content made as well, and the alert waits again."""
    bench = filled.bench
    bench.library.features_version, bench.decoders.features = VERSION, packed()
    bench.look("again", b"two")
    monkeypatch.setattr(bench.library, "filling", Filling())  # as after a start
    bench.library.filling.complete("m")
    filled.backfill = filled.make()
    (left,) = bench.ingest.pending.left()
    assert not bench.ingest.pending.decide(left)
    filled.settle()
    filled.decide()
    assert bench.told()[-1] == ("again", "known")


def test_a_picture_that_gives_no_vector_is_tried_once(filled: Filled) -> None:
    """Its alert is then decided without, and no further file of it waits."""
    bench = filled.bench
    bench.library.use_model(OTHER_MODEL)
    filled.start()
    bench.decoders.has_model = False
    bench.look("again", b"two")
    filled.settle()
    filled.decide()
    assert bench.told() == [("gone", "known")]
    decoded = len(bench.decoders.decoded)
    bench.look("and again", b"two")
    assert (bench.outcome, bench.library.filling.left) == (Outcome.STORED, 0)
    assert len(bench.decoders.decoded) == decoded


def test_a_picture_known_by_another_host_with_another_model_has_a_vector_here(filled: Filled) -> None:
    """Its file here is decoded for its alert, and the content of the other host has to be made as well."""
    bench, data = filled.bench, b"three"
    filled.start()

    def work(writer: Writer) -> ContentId:
        seen = Fingerprint(Signals(first_hashes(7, 7), None), None, 4, 3, "PPM")
        content = writer.add_content(digest_of(data), seen)
        writer.put_file(b"nas:/three", FileRow(Stat(5, 1, 1), FileState.INDEXED, content))
        return content

    content = bench.store.write(work)
    bench.look("three", data)
    filled.settle()
    filled.decide()
    assert bench.told()[-1] == ("three", "known")
    with bench.store.read() as reader:
        assert reader.made(content, "m")[1]


def test_a_file_that_comes_back_goes_before_a_scan(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its alert must not wait for the first scan of a large directory. Nothing is said to be complete before the pass
    over all has begun."""
    bench, jobs = filled.bench, filled._jobs
    bench.library.use_model(OTHER_MODEL)
    bench.look("again", b"two")
    busy, all_done = threading.Event(), threading.Event()

    order: list[str] = []
    renew = filled.backfill._renew

    def noted(content: ContentId) -> None:
        order.append("again")
        renew(content)

    monkeypatch.setattr(filled.backfill, "_renew", noted)
    with capture_logs() as logs:
        for number, event in enumerate((busy, all_done)):  # one of two threads takes all that follows
            jobs.offer(number, partial(event.wait, PATIENCE_S), Lane.BACKLOG)
        for number in range(2, 9):
            jobs.offer(number, lambda: order.append("scan"), Lane.BACKLOG)
        filled.backfill.resume()
        busy.set()
        wait_for(lambda: jobs.pending() == 1)
        all_done.set()
    assert "scan" in order[order.index("again") :]
    assert "backfill_complete" not in [line["event"] for line in logs]


def test_a_file_that_goes_again_holds_up_no_other(filled: Filled) -> None:
    """Its content is not made, and no alert waits for it."""
    bench = filled.bench
    bench.library.use_model(OTHER_MODEL)
    filled.start()
    again = bench.look("again", b"two")
    os.remove(again)
    bench.ingest.ingest(again, deleted=True)
    filled.settle()
    assert bench.library.filling.is_complete("n")
    assert bench.library.filling.left == 0

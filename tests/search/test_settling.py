"""Copies of one picture that may be variants of each other, with verification by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest
from first_hashes import first_hashes

from shazimd.errors import WorkerFailed, WorkerLost
from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.search.query import IDENTICAL
from shazimd.search.rivals import settled
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import ContentId, Hit, Verdict, Verification

SIGNALS = Signals(first_hashes(1, 2), None)
ASKED = b"asked"
BEST, *OTHERS = KNOWN = [b"picture 1", b"picture 2", b"other 3", b"picture 4"]
"""Local features; pictures are copies of each other, and so are others."""


class Verifying:
    """Verification by kind of picture. All are copies of the query; of those judged together, only the first's kind."""

    def __init__(self, failing: type[WorkerFailed] | None = None) -> None:
        self.jobs: list[tuple[bytes, list[bytes]]] = []
        self._failing = failing

    def __call__(self, query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        self.jobs.append((query, list(candidates)))
        done: Future[list[Verification]] = Future()
        if self._failing and query == BEST:
            done.set_exception(self._failing("the worker ended"))
        else:
            kind = candidates[0][:5] if query == ASKED else query[:5]
            verdicts = [Verdict.COPY if each[:5] == kind else Verdict.VARIANT for each in candidates]
            done.set_result([Verification(verdict, 50) for verdict in verdicts])
        return done


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "store"), 1 << 24)) as store:
        yield store


def verdicts(store: Store, verify: Verifying, known: Sequence[bytes]) -> dict[bytes, Verdict | None]:
    """Of copies of the query, the first of them with most inliers."""

    def add(writer: Writer) -> list[ContentId]:
        made = (Fingerprint(SIGNALS, "m", 10, 10, "PNG", features=features) for features in known)
        return [writer.add_content(each.features.ljust(32), each) for each in made]

    hits = [Hit(content, 1.0, IDENTICAL) for content in store.write(add)]
    found = [(hit, Verification(Verdict.COPY, 90 - number)) for number, hit in enumerate(hits)]
    query = Query(Fingerprint(SIGNALS, "m", 10, 10, "PNG", features=ASKED), (SIGNALS,), ASKED)
    told = settled(store, verify, query, found)
    return {features: each.verdict for features, (_, each) in zip(known, told, strict=True)}


def test_copies_of_the_best_copy_are_compared_with_it_alone(store: Store) -> None:
    """A job a pair, for all workers to share; none of the query, which has been compared with each."""
    verify = Verifying()
    copies = [BEST, b"picture 2", b"picture 4"]
    assert set(verdicts(store, verify, copies).values()) == {Verdict.COPY}
    assert verify.jobs == [(BEST, [b"picture 2"]), (BEST, [b"picture 4"])]


def test_only_what_is_no_copy_of_the_best_is_judged_together_with_it(store: Store) -> None:
    verify = Verifying()
    found = verdicts(store, verify, KNOWN)
    assert [features for features, verdict in found.items() if verdict is Verdict.VARIANT] == [b"other 3"]
    assert verify.jobs[len(OTHERS) :] == [(ASKED, [BEST, b"other 3"])]


def test_a_copy_that_ends_workers_does_not_fail_the_question(store: Store) -> None:
    """All are judged together then, as candidates of the query."""
    verify = Verifying(WorkerFailed)
    assert verdicts(store, verify, KNOWN)[b"other 3"] is Verdict.VARIANT
    assert verify.jobs[len(OTHERS) :] == [(ASKED, KNOWN)]


def test_a_worker_that_was_killed_says_nothing_about_copies(store: Store) -> None:
    with pytest.raises(WorkerLost):
        verdicts(store, Verifying(WorkerLost), KNOWN)

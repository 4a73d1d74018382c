"""A comparison in which a candidate ends the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from shazimd.errors import WorkerFailed, WorkerLost
from shazimd.types import Digest, Verdict, Verification
from shazimd.workers.pool import UNRELATED, Verifier

COPY = Verification(Verdict.COPY, 30)


class Workers:
    """Workers that fail at some bytes: each is a query or a candidate."""

    def __init__(self, *deadly: bytes, error: type[WorkerFailed] = WorkerFailed) -> None:
        self.jobs: list[Sequence[bytes]] = []
        self._deadly = deadly
        self._error = error

    def submit(self, _function: Callable[..., Any], query: bytes, candidates: Sequence[bytes]) -> Future[Any]:
        job: Future[list[Verification]] = Future()
        self.jobs.append(candidates)
        if any(each in self._deadly for each in (query, *candidates)):
            job.set_exception(self._error("the worker crashed"))
        else:
            job.set_result([COPY if each else UNRELATED for each in candidates])
        return job


def test_a_candidate_that_ends_its_worker_costs_only_itself() -> None:
    """The others have their answers, and the next question does not give it to a worker again, nor does another
    verifier of these workers."""
    workers, failed = Workers(b"bad"), set[Digest]()
    verify, later = Verifier(workers.submit, failed), Verifier(workers.submit, failed)
    assert verify(b"q", [b"a", b"bad", b"b"]).result() == [COPY, UNRELATED, COPY]
    workers.jobs.clear()
    assert later(b"q", [b"bad", b"c"]).result() == [UNRELATED, COPY]
    assert workers.jobs == [[b"", b"c"]]


def test_a_query_that_ends_its_worker_is_to_blame_itself() -> None:
    """No candidate is left out for it."""
    workers, failed = Workers(b"q"), set[Digest]()
    with pytest.raises(WorkerFailed):
        Verifier(workers.submit, failed)(b"q", [b"a", b"b"]).result()
    assert failed == set()


def test_no_candidate_is_to_blame_for_a_worker_that_was_killed() -> None:
    workers, failed = Workers(b"a", error=WorkerLost), set[Digest]()
    with pytest.raises(WorkerLost):
        Verifier(workers.submit, failed)(b"q", [b"a", b"b"]).result()
    assert failed == set()

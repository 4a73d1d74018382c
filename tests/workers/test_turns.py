from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import worker_jobs
from drawn import encoded, picture
from patience import PATIENCE_S, wait_for

from shazimd.workers import keeper, process
from shazimd.workers import pool as pools
from shazimd.workers.pool import WorkerPool

HERE = os.path.dirname(__file__)
NEVER_S = 1e6


@pytest.fixture(autouse=True)
def _workers_find_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)


@pytest.fixture
def before() -> set[psutil.Process]:
    """Other children of this process."""
    return set(psutil.Process().children())


@pytest.fixture
def pool(before: set[psutil.Process], monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    monkeypatch.setattr(process, "START_TIMEOUT_S", PATIENCE_S)  # at a tenth of the processor that others have
    with WorkerPool(processes=1, memory_mb=512, timeout_s=PATIENCE_S, max_pixels=1_000_000, spare=True) as pool:
        yield pool


def test_a_question_does_not_wait_for_other_work(pool: WorkerPool) -> None:
    """The only worker hangs in a scan's job; a question is answered by another, which runs before it."""
    ordinary = pool.submit_later(worker_jobs.process_id).result()
    hanging = pool.submit_later(worker_jobs.stop_answering_in, ordinary)
    wait_for(hanging.running)
    behind = pool.submit_later(worker_jobs.process_id)
    arriving = pool.arrival(encoded(picture(), "PNG"), None)
    answered = pool.submit(worker_jobs.process_id).result()
    assert [False, False, False] == [hanging.done(), behind.done(), arriving.query.done()]
    assert psutil.Process(answered).nice() < psutil.Process(ordinary).nice()
    os.kill(ordinary, signal.SIGSEGV)
    assert hanging.result() == 1
    assert arriving.result().fingerprint.width > 0
    assert behind.result() not in (answered, ordinary)


@pytest.mark.parametrize("lively_s", [NEVER_S, 0.05])
def test_comparisons_leave_a_worker_free_for_a_while_after_a_question(
    lively_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next question finds one, though a comparison waits; afterwards that goes on, too."""
    monkeypatch.setattr(keeper, "LIVELY_S", lively_s)
    monkeypatch.setattr(pools, "CLOSE_S", 0.0)
    with WorkerPool(processes=2, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        pool.submit(worker_jobs.process_id).result()
        hanging = pool.submit_later(worker_jobs.stop_answering)
        wait_for(hanging.running)
        behind = pool.submit_later(worker_jobs.add, 1, 2)
        assert [7] * 5 == [pool.submit(worker_jobs.add, 3, 4).result() for _ in range(5)]
        assert not hanging.done()
        if lively_s == NEVER_S:
            assert not behind.done()
        else:
            assert 3 == behind.result(PATIENCE_S)


def test_the_only_worker_compares_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon after a question."""
    monkeypatch.setattr(keeper, "LIVELY_S", NEVER_S)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        pool.submit(worker_jobs.process_id).result()
        assert 3 == pool.submit_later(worker_jobs.add, 1, 2).result(PATIENCE_S)


def test_an_idle_pool_has_no_worker_more(
    pool: WorkerPool, before: set[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker for questions is started for the first that finds no other free, and ends some time after the last."""
    monkeypatch.setattr(keeper, "IDLE_S", 0.05)

    def workers() -> int:
        return len(set(psutil.Process().children()) - before)

    answers = {pool.submit_later(worker_jobs.process_id).result()}  # a question may come before the first is free
    assert 1 == workers()
    while len(answers) == 1:  # one of two at a time finds the other at work
        answers |= {answer.result() for answer in [pool.submit(worker_jobs.busy, 0.5) for _ in range(2)]}
    wait_for(lambda: workers() == 1)
    assert 3 == pool.submit(worker_jobs.add, 1, 2).result()


def test_no_worker_is_started_while_others_take_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of many jobs keeps all workers busy by itself; a worker more would take the processor from them."""
    monkeypatch.setattr(keeper, "GRACE_S", 1.0)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=PATIENCE_S, max_pixels=1_000_000, spare=True) as pool:
        pool.submit_later(worker_jobs.process_id).result()
        answers = [pool.submit(worker_jobs.busy, 0.05) for _ in range(40)]
        assert 1 == len({answer.result() for answer in answers})


def test_closing_ends_the_worker_for_questions(before: set[psutil.Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not it was started."""
    monkeypatch.setattr(pools, "CLOSE_S", PATIENCE_S)
    for asked in (0, 3):
        with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000, spare=True) as pool:
            answers = [pool.submit(worker_jobs.add, 1, n) for n in range(asked)]
        assert all(answer.cancelled() or answer.result() for answer in answers)
    assert set(psutil.Process().children()) <= before

"""Work by key on a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from patience import PATIENCE_S, wait_for
from structlog.testing import capture_logs

from shazimd.ingest import lanes
from shazimd.ingest.lanes import GROUP_SHARE, Jobs, Lane


class Held:
    """Work that has begun and goes on until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        self.begun.set()
        assert self.free.wait(PATIENCE_S)

    def holds(self, jobs: Jobs, key: str = "held", lane: Lane = Lane.LIVE) -> None:
        jobs.offer(key, self, lane)
        assert self.begun.wait(PATIENCE_S)


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.free.set()


@pytest.fixture
def jobs(held: Held) -> Iterator[Jobs]:
    made = Jobs(threads=1)
    yield made
    held.free.set()
    made.close()


def finish(jobs: Jobs) -> None:
    """Wait until all that was offered is done: what comes last in the last lane was done."""
    done = threading.Event()
    jobs.offer("the end", done.set, Lane.BACKFILL)
    assert done.wait(PATIENCE_S)


def note(done: list[str], word: str) -> Callable[[], None]:
    return lambda: done.append(word)


def test_the_more_urgent_goes_first(jobs: Jobs, held: Held) -> None:
    """Within a lane in the order in which it came."""
    done: list[str] = []
    held.holds(jobs)
    for lane in (Lane.BACKFILL, Lane.BACKLOG, Lane.LIVE):
        for number in (1, 2):
            jobs.offer(f"{lane.name}{number}", note(done, f"{lane.name}{number}"), lane)
    held.free.set()
    finish(jobs)
    assert ["LIVE1", "LIVE2", "BACKLOG1", "BACKLOG2", "BACKFILL1", "BACKFILL2"] == done


@pytest.mark.parametrize("lanes", [(Lane.BACKLOG, Lane.LIVE), (Lane.LIVE, Lane.BACKLOG), (Lane.LIVE, Lane.LIVE)])
def test_what_is_offered_twice_is_done_once_in_the_more_urgent_lane(
    jobs: Jobs, held: Held, lanes: tuple[Lane, Lane]
) -> None:
    """Whichever came first."""
    done: list[str] = []
    held.holds(jobs)
    jobs.offer("between", note(done, "between"), Lane.BACKLOG)
    for lane in lanes:
        jobs.offer("a", note(done, "a"), lane)
    assert 3 == jobs.pending()
    held.free.set()
    finish(jobs)
    assert ["a", "between"] == done


def test_what_is_offered_while_it_runs_is_done_once_more(jobs: Jobs, held: Held) -> None:
    """It may have looked before the change; how often it was offered does not count."""
    held.holds(jobs)
    jobs.offer("held", held, Lane.BACKLOG)
    jobs.offer("held", held, Lane.LIVE)
    assert (2, 1) == (jobs.pending(), held.times)
    held.free.set()
    finish(jobs)
    assert 2 == held.times


def test_one_key_is_never_done_twice_at_once() -> None:
    """With threads to spare."""
    jobs = Jobs(threads=4)
    running: list[int] = []
    seen: list[int] = []

    def work() -> None:
        running.append(1)
        seen.append(len(running))
        running.pop()

    while len(seen) < 500:
        jobs.offer("a", work, Lane.LIVE)
    jobs.close()
    assert {1} == set(seen)


def test_pending_counts_what_waits_and_what_runs(jobs: Jobs, held: Held) -> None:
    """By lane, or in all."""
    held.holds(jobs, lane=Lane.BACKLOG)
    jobs.offer("a", note([], "a"), Lane.LIVE)
    assert (2, 1, 1, 0) == (
        jobs.pending(),
        jobs.pending(Lane.BACKLOG),
        jobs.pending(Lane.LIVE),
        jobs.pending(Lane.BACKFILL),
    )
    held.free.set()
    finish(jobs)


def test_a_fault_in_one_job_is_logged_and_the_next_is_done(jobs: Jobs) -> None:
    """The thread serves all others."""
    done: list[str] = []

    def fails() -> None:
        done.append("bad")
        raise ValueError("a fault of ours")

    with capture_logs() as logs:
        jobs.offer("bad", fails, Lane.LIVE)
        jobs.offer("good", note(done, "good"), Lane.LIVE)
        finish(jobs)
    assert ["bad", "good"] == done
    assert [("job_failed", "bad")] == [(log["event"], log["key"]) for log in logs]


def test_closing_finishes_what_runs_and_drops_what_waits(held: Held) -> None:
    """What was dropped is found again on the disk."""
    jobs = Jobs(threads=1)
    done: list[str] = []
    held.holds(jobs)
    jobs.offer("held", held, Lane.LIVE)
    jobs.offer("waits", note(done, "waits"), Lane.LIVE)
    closing = threading.Thread(target=jobs.close)
    closing.start()
    wait_for(lambda: jobs.pending() == 1)
    held.free.set()
    closing.join(PATIENCE_S)
    assert (False, 1, []) == (closing.is_alive(), held.times, done)
    jobs.offer("late", note(done, "late"), Lane.LIVE)
    assert (0, []) == (jobs.pending(), done)


def test_closing_gives_up_what_takes_long(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that waits for another process is made to fail; one that begins such a wait meanwhile is, too."""
    monkeypatch.setattr(lanes, "FINISH_S", 0.01)
    jobs = Jobs(threads=1)
    calls = []
    held.holds(jobs)

    def give_up() -> None:
        calls.append(1)
        if len(calls) == 3:
            held.free.set()
            wait_for(lambda: not jobs.pending())  # or a busy machine would ask once more before the job ends

    jobs.close(give_up)
    assert (3, 0) == (len(calls), jobs.pending())


def test_jobs_of_a_group_never_take_all_threads() -> None:
    """They may hang; jobs after them and of other groups go on, and the end does not wait for them for ever."""
    jobs = Jobs(GROUP_SHARE * 2)
    answers, done = threading.Event(), threading.Event()
    for number in range(20):
        jobs.offer(("hangs", number), answers.wait, Lane.LIVE, group="mount")
    jobs.offer("other", done.set, Lane.BACKLOG)
    assert done.wait(PATIENCE_S)
    assert 20 == jobs.pending(Lane.LIVE)
    answers.set()
    while jobs.pending():
        pass
    jobs.close()


def test_a_close_leaves_jobs_of_a_group_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are waited for."""
    monkeypatch.setattr(lanes, "PATIENCE_S", 0.01)
    jobs = Jobs(GROUP_SHARE)
    begun, answers = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        answers.wait()

    jobs.offer("hangs", hang, Lane.LIVE, group="mount")
    assert begun.wait(PATIENCE_S)
    jobs.close()
    answers.set()


def test_a_close_has_an_end(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a job without a group that hangs."""
    monkeypatch.setattr(lanes, "FINISH_MAX_S", 0.05)
    monkeypatch.setattr(lanes, "FINISH_S", 0.01)
    jobs = Jobs(threads=1)
    held.holds(jobs)
    with capture_logs() as logs:
        jobs.close()
    assert [("jobs_left_behind", 1, "held")] == [(log["event"], log["jobs"], log["example"]) for log in logs]

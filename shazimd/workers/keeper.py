"""A keeper: the thread that keeps one worker running, takes jobs from the pool's queue, and replaces a dead worker.

Questions come first in the queue, and one keeper takes nothing else.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar

import structlog

from shazimd.errors import ModelError, WorkerFailed, WorkerLost
from shazimd.models.model import ModelInfo
from shazimd.workers import checks, messages
from shazimd.workers.messages import MalformedReply, Request
from shazimd.workers.process import WorkerCrashed, WorkerProcess

log = structlog.get_logger()

T = TypeVar("T")

JOBS_A_WORKER = 2000
"""Jobs until a worker is renewed: whatever a picture has left in it ends then. A start takes 0.4 s, and 2,000 pictures
of a scan 40 s."""
IDLE_S = 60.0
"""The spare worker ends after so long without a question: most installations never need it."""
LIVELY_S = 10.0
"""So long after a question or a new file one worker stays free of comparisons: a pair's signs take 25 ms and more, and
no job is interrupted."""
TOLD_TOGETHER, WAITING_MIN = 8, 3
"""Replies to jobs of a scan that are checked, and told, together, while so many other jobs wait for each worker: a step
that is taken once in 20 ms finds nothing of its own in the processor's cache, and takes up to ten times as long."""
GRACE_S = 0.1
"""Most jobs are done within less: while any worker takes a new one within it, no further worker is started, which takes
.4 s and 80 MiB. A question is a dozen jobs and more, which keep all workers busy by themselves."""


class Priority(IntEnum):
    STOP = 0
    QUESTION = 1
    """a person or a program waits for the answer"""
    ARRIVAL = 2
    """a new file: any, so also the work of a hostile one"""
    SCAN = 3
    COMPARISON = 4
    """of known pictures in the background"""


@dataclass(order=True, slots=True)
class PoolJob(Generic[T]):
    priority: Priority
    number: int
    """first come, first served within a priority"""
    function: Callable[..., T] | None = field(compare=False)
    """None ends the keeper"""
    arguments: tuple[Any, ...] = field(compare=False, default=())
    model: ModelInfo | None = field(compare=False, default=None)
    """among the arguments"""
    future: Future[T] = field(compare=False, default_factory=Future)
    is_abandoned: bool = field(compare=False, default=False)
    may_wait: bool = field(compare=False, default=False)
    """its result may be told with those of the next jobs"""


class JobQueue:
    """Thread-safe. The least job first.

    A job wakes one keeper: all of them can go on, or none. The keeper of questions is woken when a question begins or
    ends to need it."""

    def __init__(self, keepers: int = 1) -> None:
        """``keepers``: the number of those that take all jobs."""
        self._jobs: list[PoolJob[Any]] = []
        self._keepers = keepers
        self._lively_until = 0.0
        """``time.monotonic`` until which a worker stays free of comparisons"""
        lock = threading.RLock()
        self._changed, self._questions = threading.Condition(lock), threading.Condition(lock)
        self._is_due = False
        """a question, or the end, finds no free keeper; as of the last release of the lock"""
        self._free = 0
        """keepers of all jobs that wait for one"""
        self._begun = 0
        """jobs taken so far"""

    def put(self, job: PoolJob[Any]) -> None:
        with self._changed:
            if job.priority in (Priority.QUESTION, Priority.ARRIVAL):
                self._lively_until = time.monotonic() + LIVELY_S
            heapq.heappush(self._jobs, job)
            self._changed.notify()
            self._note_due()

    def take(self, begin: Callable[[PoolJob[Any]], None]) -> PoolJob[Any]:
        """The next job. ``begin`` has it before ``clear`` can look again: no job is neither here nor begun."""
        with self._changed:
            self._free += 1
            while (rest_s := self._rest_s()) is None or rest_s > 0:
                self._note_due()
                self._changed.wait(rest_s)
            self._free -= 1
            return self._taken(begin)

    def take_at_once(self, begin: Callable[[PoolJob[Any]], None]) -> PoolJob[Any] | None:
        """As ``take``, but for a comparison; None where few jobs wait."""
        with self._changed:
            are_many = len(self._jobs) > WAITING_MIN * self._keepers and self._jobs[0].priority < Priority.COMPARISON
            return self._taken(begin) if are_many else None

    def _rest_s(self) -> float | None:
        """How long a free keeper waits at most, unless another job comes or another keeper is free; None: for ever."""
        if not self._jobs:
            return None
        is_last_free = self._free == 1 and self._keepers > 1
        if self._jobs[0].priority < Priority.COMPARISON or not is_last_free:
            return 0.0
        return max(0.0, self._lively_until - time.monotonic())

    def take_question(
        self, begin: Callable[[PoolJob[Any]], None], timeout_s: float | None, grace_s: float
    ) -> PoolJob[Any] | None:
        """As ``take``, the next question that finds every keeper of all jobs at one job for ``grace_s``, or the end;
        None after ``timeout_s`` without."""
        with self._changed:
            while self._questions.wait_for(lambda: self._is_due, timeout_s):
                begun = self._begun
                self._questions.wait_for(lambda: not self._is_due, grace_s)
                if self._is_due and begun == self._begun:
                    return self._taken(begin)
            return None

    def has_free(self, keepers: int) -> bool:
        """Whether so many keepers of all jobs are free just now, beside one for each job that waits."""
        with self._changed:
            return self._free - len(self._jobs) >= keepers

    def clear(self, less_urgent_than: Priority) -> list[PoolJob[Any]]:
        """Remove and return the less urgent jobs."""
        with self._changed:
            removed = [job for job in self._jobs if job.priority > less_urgent_than]
            self._jobs = sorted(job for job in self._jobs if job.priority <= less_urgent_than)  # a heap, too
            self._note_due()
            return removed

    def _taken(self, begin: Callable[[PoolJob[Any]], None]) -> PoolJob[Any]:
        job = heapq.heappop(self._jobs)
        self._begun += 1
        begin(job)
        self._note_due()  # the next may find no other keeper free
        return job

    def _note_due(self) -> None:
        """To be called before the lock is released, by whoever has changed the jobs or the number of free keepers."""
        is_due = bool(self._jobs) and not self._free and self._jobs[0].priority <= Priority.QUESTION
        if is_due != self._is_due:
            self._is_due = is_due
            self._questions.notify_all()


class Models:
    """The models that workers open at their start: the last two, since jobs for both alternate while one is changed."""

    def __init__(self, first: ModelInfo | None) -> None:
        self._lock = threading.Lock()
        self._last = () if first is None else (first,)

    def with_model(self, model: ModelInfo | None) -> tuple[ModelInfo, ...]:
        with self._lock:
            if model is not None and model not in self._last:
                self._last = (model, *self._last[:1])
            return self._last


class Keeper:
    """Keeps one worker running and gives it jobs, in a thread of its own."""

    def __init__(
        self,
        jobs: JobQueue,
        models: Models,
        memory_mb: int,
        timeout_s: float,
        *,
        yields: bool = False,
    ) -> None:
        self._jobs = jobs
        self._yields = yields
        self._models = models
        self._memory_mb = memory_mb
        self._timeout_s = timeout_s
        self._worker: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._begun: PoolJob[Any] | None = None
        """the job of the worker; the lock is held to change it, and to kill the worker for it"""
        self._untold: list[tuple[PoolJob[Any], bytearray]] = []
        """jobs that may wait, with their results, unchecked"""
        self.missing_layers: list[str] | None = None
        """of the last worker that was ready"""

    def run(self) -> None:
        self._prepare()
        while self._serve_one():
            pass
        if self._worker is not None:
            self._worker.close()

    def _serve_one(self) -> bool:
        """Run the next job; False at the end. A separate function, to free the job before the next wait."""
        job = self._next()
        if job.function is None:
            self._tell()
            return False
        if job.future.set_running_or_notify_cancel():
            self._finish(job)
        self._begin(None)
        if self._worker is not None and self._worker.jobs_done >= JOBS_A_WORKER:
            self._replace(None)
        return True

    def abandon(self, less_urgent_than: Priority) -> None:
        """Give up the job that has begun, if it is less urgent. For any thread."""
        with self._lock:
            if self._begun is not None and self._begun.priority > less_urgent_than:
                self._begun.is_abandoned = True
                if (worker := self._worker) is not None:  # one that starts just now is seen to before it has the job
                    worker.end_job()

    def _begin(self, job: PoolJob[Any] | None) -> None:
        with self._lock:
            self._begun = job

    def _prepare(self) -> None:
        self._replace(None)

    def _next(self) -> PoolJob[Any]:
        if 0 < len(self._untold) < TOLD_TOGETHER and (job := self._jobs.take_at_once(self._begin)) is not None:
            return job
        self._tell()
        return self._jobs.take(self._begin)

    def _finish(self, job: PoolJob[Any]) -> None:
        """Run a job and tell its caller, unless that may wait."""
        try:
            self._run(job)
        except Exception as error:  # also arguments that can't be pickled: no reason to lose this thread
            job.future.set_exception(CancelledError() if job.is_abandoned else error)

    def _tell(self) -> None:
        """Check the results that wait, and tell the callers. From a malformed one on they are made again."""
        untold, self._untold = self._untold, []
        for place, (job, reply) in enumerate(untold):
            try:
                result = _checked(job, reply)
            except Exception:  # a malformed reply; and a fault of a check must not end this thread either
                self._replace(job.model)
                for again, _ in untold[place:]:
                    again.may_wait = False
                    self._finish(again)
                return
            job.future.set_result(result)

    def _run(self, job: PoolJob[Any]) -> None:
        """As ``_finish``. A job is tried again, in a fresh worker, unless it is to blame for the failure."""
        assert job.function is not None
        request = messages.pack_job(job.function, job.arguments)
        before = 0 if self._worker is None else self._worker.jobs_done
        try:
            self._ask(request, job)
        except WorkerLost:
            self._ask(request, job)
        except (MalformedReply, WorkerCrashed):
            if not before:
                raise
            self._ask(request, job)

    def _ask(self, request: Request, job: PoolJob[Any]) -> None:
        """As ``_finish``; after a failure the worker is replaced. Raises CancelledError for an abandoned job."""
        _check_wanted(job)
        try:
            worker = self._live_worker(job.model)
            _check_wanted(job)
            reply = worker.ask(request)
            if job.may_wait and messages.is_result(reply):
                self._untold.append((job, reply))
            else:
                job.future.set_result(_checked(job, reply))
        except (WorkerFailed, ModelError):  # the model's file may be mended, and only a new worker can open it
            self._replace(job.model)
            raise

    def _live_worker(self, model: ModelInfo | None) -> WorkerProcess:
        """The worker, ready; replaced if it died, sent something while idle or lacks the model. Raises WorkerLost."""
        worker = self._worker
        if worker is not None and (sent := worker.has_sent_unasked()) is not False:
            if sent:
                log.warning("worker_ended", reason="it has sent bytes that belong to no job", jobs=worker.jobs_done)
            worker = None
        if worker is None or not worker.knows(model):
            worker = self._start(model)
        worker.wait_until_ready()
        self.missing_layers = worker.missing_layers
        return worker

    def _replace(self, model: ModelInfo | None) -> None:
        with suppress(WorkerLost):  # the next job tries again, and says so
            self._start(model)

    def _start(self, model: ModelInfo | None) -> WorkerProcess:
        """Replace the worker. Raises WorkerLost, and then there is none."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None
        self._worker = WorkerProcess(self._memory_mb, self._timeout_s, self._models.with_model(model))
        if self._yields:
            self._worker.yield_to_others()
        return self._worker


def _checked(job: PoolJob[T], reply: bytearray) -> T:
    """The result in a reply. Raises the job's error, and MalformedReply."""
    assert job.function is not None
    return checks.checked(job.function, job.arguments, messages.unpack_reply(reply, job.function))


def _check_wanted(job: PoolJob[Any]) -> None:
    """Raises CancelledError for an abandoned job."""
    if job.is_abandoned:
        raise CancelledError


class QuestionKeeper(Keeper):
    """Serves the questions for which no other worker is free; has no worker while there are none."""

    def _prepare(self) -> None:
        """Start no worker yet."""

    def _next(self) -> PoolJob[Any]:
        while True:
            timeout_s, grace_s = (None, GRACE_S) if self._worker is None else (IDLE_S, 0.0)
            if (job := self._jobs.take_question(self._begin, timeout_s, grace_s)) is not None:
                return job
            if self._worker is not None:
                self._worker.close()
                self._worker = None

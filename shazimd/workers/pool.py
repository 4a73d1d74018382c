"""A pool of worker processes for decoding: a crash, hang or memory exhaustion of a decoder costs one job.

Jobs wait in a queue. Each worker has a keeper, a thread: it takes a job, waits for the reply, and replaces a dead
worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Self, TypeVar

import structlog

from shazimd.errors import InternalError, ModelError, WorkerFailed, WorkerLost
from shazimd.models.model import ModelInfo
from shazimd.posix.sealed import SealedBytes
from shazimd.types import Fingerprint, Query
from shazimd.workers import checks, jobs, messages
from shazimd.workers.messages import MalformedReply, Request
from shazimd.workers.process import WorkerCrashed, WorkerProcess
from shazimd.workers.turns import GRACE_S, JobQueue, Priority

log = structlog.get_logger()

T = TypeVar("T")

JOBS_A_WORKER = 2000
"""Jobs until a worker is renewed: whatever a picture has left in it ends then. A start takes 0.4 s, and 2,000 pictures
of a scan 40 s."""

IDLE_S = 60.0
"""The spare worker ends after so long without a question: most installations never need it."""

CLOSE_S = 5.0
"""The longest wait for jobs that have begun, when a pool closes: those who wait for the answers have gone."""
CLOSE_TICK_S = 0.1


@dataclass(order=True, slots=True)
class _PoolJob(Generic[T]):
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


class WorkerPool:
    """Runs jobs in worker processes. Thread-safe.

    A future raises the job's NotAnImage, TooLarge or ModelError, or WorkerFailed: the worker crashed, took longer than
    ``timeout_s`` or ran out of ``memory_mb``. It raises WorkerLost, after a second try, if workers were killed from
    outside or could not be started.
    """

    def __init__(
        self,
        processes: int,
        memory_mb: int,
        timeout_s: float,
        max_pixels: int,
        *,
        features: bool = True,
        model: ModelInfo | None = None,
        spare: bool = False,
    ) -> None:
        """``model``: for the workers to open at once. For a job with another one, its worker is replaced.

        ``spare``: a worker more for a question that finds all others at work; these yield the processor to it."""
        self._extraction = max_pixels, features
        self._numbers = count()
        self._jobs: JobQueue[_PoolJob[Any]] = JobQueue()
        self._open = True
        self._lock = threading.Lock()
        models = _Models(model)
        self._keepers = [_Keeper(self._jobs, models, memory_mb, timeout_s, yields=spare) for _ in range(processes)]
        if spare:
            self._keepers.append(_QuestionKeeper(self._jobs, models, memory_mb, timeout_s))
        self._threads = [
            threading.Thread(target=keeper.run, name=f"worker-{i}", daemon=True)
            for i, keeper in enumerate(self._keepers)
        ]
        for thread in self._threads:
            thread.start()

    def fingerprint(self, data: bytes | SealedBytes, model: ModelInfo | None) -> Future[Fingerprint]:
        """Fingerprint a picture, after all other jobs."""
        return self._submit(Priority.SCAN, jobs.fingerprint, (data, model, *self._extraction), model)

    def query(self, data: bytes | SealedBytes, model: ModelInfo | None) -> Future[Query]:
        """Fingerprint a picture to search for, in all its orientations."""
        return self._submit(Priority.QUESTION, jobs.query, (data, model, *self._extraction), model)

    def arrival(self, data: bytes | SealedBytes, model: ModelInfo | None) -> Future[Query]:
        """As ``query``, of a new file: after all questions, and never by the spare worker."""
        return self._submit(Priority.ARRIVAL, jobs.query, (data, model, *self._extraction), model)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run an importable pure function whose declared return type is plain data (see ``messages``)."""
        return self._submit(Priority.QUESTION, function, arguments)

    def submit_later(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """As ``submit``, after all jobs of ``query`` and ``submit``."""
        return self._submit(Priority.SCAN, function, arguments)

    def missing_layers(self) -> list[str] | None:
        """Layers that the workers' confinement lacks, each with the reason; None until one of them has begun."""
        return next((keeper.missing_layers for keeper in self._keepers if keeper.missing_layers is not None), None)

    def abandon_files(self) -> None:
        """Give up the jobs of files, begun or not: their futures raise CancelledError. Questions go on."""
        self._abandon(Priority.QUESTION)

    def close(self) -> None:
        """Cancel the jobs not yet begun, wait a while for the others, end the workers. A second call does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                self._cancel(Priority.STOP)
                for _ in self._threads:
                    self._jobs.put(_PoolJob(Priority.STOP, next(self._numbers), None))
        end = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            while thread.is_alive():  # a worker may start just now: it is killed the next time
                self._abandon(Priority.STOP)
                thread.join(CLOSE_TICK_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _abandon(self, less_urgent_than: Priority) -> None:
        self._cancel(less_urgent_than)
        for keeper in self._keepers:
            keeper.abandon(less_urgent_than)

    def _cancel(self, less_urgent_than: Priority) -> None:
        for job in self._jobs.clear(less_urgent_than):
            job.future.cancel()
            job.future.set_running_or_notify_cancel()

    def _submit(
        self, priority: Priority, function: Callable[..., T], arguments: tuple[Any, ...], model: ModelInfo | None = None
    ) -> Future[T]:
        job = _PoolJob(priority, next(self._numbers), function, arguments, model)
        with self._lock:
            if not self._open:
                raise InternalError("the worker pool is closed")
            self._jobs.put(job)
        return job.future


class _Models:
    """The models that workers open at their start: the last two, since jobs for both alternate while one is changed."""

    def __init__(self, first: ModelInfo | None) -> None:
        self._lock = threading.Lock()
        self._last = () if first is None else (first,)

    def with_model(self, model: ModelInfo | None) -> tuple[ModelInfo, ...]:
        with self._lock:
            if model is not None and model not in self._last:
                self._last = (model, *self._last[:1])
            return self._last


class _Keeper:
    """Keeps one worker running and gives it jobs, in a thread of its own."""

    def __init__(
        self,
        jobs: JobQueue[_PoolJob[Any]],
        models: _Models,
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
        self._begun: _PoolJob[Any] | None = None
        """the job of the worker; the lock is held to change it, and to kill the worker for it"""
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
            return False
        if job.future.set_running_or_notify_cancel():
            try:
                result = self._run(job)
            except Exception as error:  # also arguments that can't be pickled: no reason to lose this thread
                job.future.set_exception(CancelledError() if job.is_abandoned else error)
            else:
                job.future.set_result(result)
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

    def _begin(self, job: _PoolJob[Any] | None) -> None:
        with self._lock:
            self._begun = job

    def _prepare(self) -> None:
        self._replace(None)

    def _next(self) -> _PoolJob[Any]:
        return self._jobs.take(self._begin)

    def _run(self, job: _PoolJob[T]) -> T:
        """The result of a job. A job is tried again, in a fresh worker, unless it is to blame for the failure."""
        assert job.function is not None
        request = messages.pack_job(job.function, job.arguments)
        before = 0 if self._worker is None else self._worker.jobs_done
        try:
            return self._ask(request, job)
        except WorkerLost:
            return self._ask(request, job)
        except (MalformedReply, WorkerCrashed):
            if not before:
                raise
            return self._ask(request, job)

    def _ask(self, request: Request, job: _PoolJob[T]) -> T:
        """The result of a job; after a failure the worker is replaced. Raises CancelledError for an abandoned one."""
        assert job.function is not None
        _check_wanted(job)
        try:
            worker = self._live_worker(job.model)
            _check_wanted(job)
            reply = worker.ask(request)
            return checks.checked(job.function, job.arguments, messages.unpack_reply(reply, job.function))
        except (WorkerFailed, ModelError):  # the model's file may be mended, and only a new worker can open it
            self._replace(job.model)
            raise

    def _live_worker(self, model: ModelInfo | None) -> WorkerProcess:
        """The worker, ready; replaced if it died, sent something while idle or lacks the model. Raises WorkerLost."""
        worker = self._worker
        if worker is not None and worker.has_sent_unasked():
            log.warning("worker_ended", reason="it has sent bytes that belong to no job", jobs=worker.jobs_done)
            worker = None
        if worker is None or not worker.is_alive() or not worker.knows(model):
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
            self._worker.kill()
        self._worker = None
        self._worker = WorkerProcess(self._memory_mb, self._timeout_s, self._models.with_model(model))
        if self._yields:
            self._worker.yield_to_others()
        return self._worker


def _check_wanted(job: _PoolJob[Any]) -> None:
    """Raises CancelledError for an abandoned job."""
    if job.is_abandoned:
        raise CancelledError


class _QuestionKeeper(_Keeper):
    """Serves the questions for which no other worker is free; has no worker while there are none."""

    def _prepare(self) -> None:
        """Start no worker yet."""

    def _next(self) -> _PoolJob[Any]:
        while True:
            timeout_s, grace_s = (None, GRACE_S) if self._worker is None else (IDLE_S, 0.0)
            if (job := self._jobs.take_question(self._begin, timeout_s, grace_s)) is not None:
                return job
            if self._worker is not None:
                self._worker.close()
                self._worker = None

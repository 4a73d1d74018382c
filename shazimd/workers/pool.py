"""A pool of worker processes for decoding: a crash, hang or memory exhaustion of a decoder costs one job.

Jobs wait in a queue for the keepers of the workers. A comparison is safe in the same way: local features come from
workers that a hostile picture may have taken over, and from other hosts. They are checked without a decoder, and their
small pictures are decoded in a comparison alone. Were one made to end the decoder, every question that comes across it
would fail. So a candidate that ends its worker costs only itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import structlog

from shazimd.errors import InternalError, WorkerFailed, WorkerLost
from shazimd.fingerprint import Fingerprint, Query
from shazimd.models.model import ModelInfo
from shazimd.posix.sealed import SealedBytes
from shazimd.types import Digest, Verification, digest_of
from shazimd.words.packing import FEATURE, stored_points, with_points
from shazimd.workers import jobs
from shazimd.workers.keeper import JobQueue, Keeper, Models, PoolJob, Priority, QuestionKeeper

log = structlog.get_logger()

T = TypeVar("T")

CLOSE_S = 5.0
"""The longest wait for jobs that have begun, when a pool closes: those who wait for the answers have gone."""
CLOSE_TICK_S = 0.1
SHARED_BYTES_MAX = 1 << 20
"""Bytes of a picture that two workers fingerprint together if both are free: each decodes it, which takes 1 to 10 ms.
One of 400 pixels takes 14 ms then in place of 23."""


class StartedQuery(NamedTuple):
    """A picture that is being fingerprinted, in one job or in two at a time."""

    query: Future[Query]
    points: Future[bytes] | None = None
    """of its local features, which have none then"""

    def without_points(self) -> Query | None:
        """Wait for the query without its points, which take longer; None if one job makes all. Raises as ``result``."""
        return None if self.points is None else self.query.result()

    def result(self) -> Query:
        """Wait for the query. Raises as the futures of ``WorkerPool``."""
        query = self.query.result()
        if self.points is None:
            return query
        points = self.points.result()
        kept = with_points(query.fingerprint.features, stored_points(np.frombuffer(points, FEATURE)).tobytes())
        fingerprint, asked = replace(query.fingerprint, features=kept), with_points(query.features, points)
        return replace(query, fingerprint=fingerprint, features=asked)


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
        self._jobs = JobQueue(processes)
        self._open = True
        self._lock = threading.Lock()
        models = Models(model)
        self._keepers = [Keeper(self._jobs, models, memory_mb, timeout_s, yields=spare) for _ in range(processes)]
        if spare:
            self._keepers.append(QuestionKeeper(self._jobs, models, memory_mb, timeout_s))
        self._threads = [
            threading.Thread(target=keeper.run, name=f"worker-{i}", daemon=True)
            for i, keeper in enumerate(self._keepers)
        ]
        for thread in self._threads:
            thread.start()

    def fingerprint(self, data: bytes | SealedBytes, model: ModelInfo | None) -> Future[Fingerprint]:
        """Fingerprint a picture, after all other jobs."""
        return self._submit(Priority.SCAN, jobs.fingerprint, (data, model, *self._extraction), model)

    def query(self, data: bytes | SealedBytes, model: ModelInfo | None) -> StartedQuery:
        """Fingerprint a picture to search for, in all its orientations."""
        return self._query(Priority.QUESTION, data, model)

    def arrival(self, data: bytes | SealedBytes, model: ModelInfo | None) -> StartedQuery:
        """As ``query``, of a new file: after all questions, and never by the spare worker."""
        return self._query(Priority.ARRIVAL, data, model)

    def _query(self, priority: Priority, data: bytes | SealedBytes, model: ModelInfo | None) -> StartedQuery:
        max_pixels, features = self._extraction
        if not (features and len(data) <= SHARED_BYTES_MAX and self._jobs.has_free(2)):
            return StartedQuery(self._submit(priority, jobs.query, (data, model, max_pixels, features), model))
        points = self._submit(priority, jobs.points, (data, max_pixels))
        return StartedQuery(self._submit(priority, jobs.query_without_points, (data, model, max_pixels), model), points)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run an importable pure function whose declared return type is plain data (see ``messages``)."""
        return self._submit(Priority.QUESTION, function, arguments)

    def submit_later(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """As ``submit``, after all other jobs, and with one worker left free for a while after a question or a new
        file."""
        return self._submit(Priority.COMPARISON, function, arguments)

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
                    self._jobs.put(PoolJob(Priority.STOP, next(self._numbers), None))
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
        job = PoolJob(priority, next(self._numbers), function, arguments, model, may_wait=priority is Priority.SCAN)
        with self._lock:
            if not self._open:
                raise InternalError("the worker pool is closed")
            self._jobs.put(job)
        return job.future


UNRELATED = Verification(None)

Submit = Callable[..., "Future[list[Verification]]"]
"""Has a worker run a job: ``WorkerPool.submit`` or ``submit_later``."""


class Verifier:
    """``verify_all`` in the workers. Candidates that end a worker are related to nothing from then on."""

    def __init__(self, submit: Submit, failed: set[Digest]) -> None:
        """``failed``: digests of features that ended a worker; shared by all verifiers of a pool."""
        self._submit = submit
        self._failed = failed

    def __call__(self, query: bytes, candidates: Sequence[bytes]) -> Verifications:
        """Start to compare a query with each candidate, all packed features."""
        asked = candidates
        if self._failed:
            asked = [b"" if digest_of(each) in self._failed else each for each in candidates]
        return Verifications(self, query, asked, self.start(query, asked))

    def start(self, query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        return self._submit(jobs.verify_all, query, candidates)

    def leave_out(self, candidate: bytes, error: WorkerFailed) -> None:
        """Ask no worker about this candidate any more."""
        log.warning("features_failed", digest=digest_of(candidate).hex(), code=error.code, reason=str(error))
        self._failed.add(digest_of(candidate))


class Verifications:
    """The answers about some candidates, in their order."""

    def __init__(
        self, verifier: Verifier, query: bytes, candidates: Sequence[bytes], job: Future[list[Verification]]
    ) -> None:
        self._verifier = verifier
        self._query = query
        self._candidates = candidates
        self._job = job

    def result(self) -> list[Verification]:
        """Wait for the answers. Raises WorkerLost, and WorkerFailed if the query is to blame."""
        try:
            return self._job.result()
        except WorkerLost:
            raise
        except WorkerFailed:
            self._verifier.start(self._query, [self._query]).result()
            return [self._alone(candidate) for candidate in self._candidates]

    def _alone(self, candidate: bytes) -> Verification:
        try:
            return self._verifier.start(self._query, [candidate]).result()[0]
        except WorkerLost:
            raise
        except WorkerFailed as error:
            self._verifier.leave_out(candidate, error)
            return UNRELATED

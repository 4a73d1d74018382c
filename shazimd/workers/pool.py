"""Processes that decode: a picture that crashes, hangs or bloats its decoder costs one job.

One thread of the pool looks after each worker: it hands it a job, waits for the answer, and starts another worker in
the place of one that died. A worker is a fresh interpreter, never a fork, which would share the store's open file.
It dies with the thread that started it, so also when the daemon is killed.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Self, TypeVar

from shazimd.errors import InternalError, ShazimdError, WorkerFailed
from shazimd.models.model import ModelInfo
from shazimd.types import Fingerprint, Query
from shazimd.workers import channel, replies, tasks

T = TypeVar("T")

START_TIMEOUT_S = 60.0
"""A cold disk under load may take long to import NumPy and OpenCV; normally a third of a second."""
REPLY_BYTES_MAX = 1 << 24
"""A query with 8 vectors is some 70 KB. Bounds what a worker that was taken over can make the daemon allocate."""

_STOP, _ASKED, _BACKGROUND = range(3)  # someone waits for what is asked; a scan can wait

_DEATH_TIMEOUT_S = 5.0
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


@dataclass(order=True, slots=True)
class _Job(Generic[T]):
    priority: int
    number: int
    function: Callable[..., T] | None = field(compare=False)
    """None ends the thread that takes it"""
    arguments: tuple[Any, ...] = field(compare=False, default=())
    future: Future[T] = field(compare=False, default_factory=Future)


class WorkerPool:
    """Runs jobs in worker processes. Safe from any thread.

    A future may raise: NotAnImage, TooLarge, ModelError, as the job did; WorkerFailed when the worker crashed, took
    longer than ``timeout_s``, ran out of ``memory_mb``, or could not be started. Each costs that one job.
    """

    def __init__(
        self, processes: int, memory_mb: int, timeout_s: float, max_pixels: int, *, features: bool = True
    ) -> None:
        self._terms = max_pixels, features
        self._numbers = count()
        self._jobs: queue.PriorityQueue[_Job[Any]] = queue.PriorityQueue()
        self._open = True
        self._lock = threading.Lock()
        keepers = [_Keeper(self._jobs, memory_mb, timeout_s) for _ in range(processes)]
        self._threads = [threading.Thread(target=k.run, name=f"worker-{i}", daemon=True) for i, k in enumerate(keepers)]
        for thread in self._threads:
            thread.start()

    def fingerprint(self, data: bytes, model: ModelInfo | None) -> Future[Fingerprint]:
        """What is kept of a picture; done after all that is asked by ``query`` and ``submit``."""
        return self._submit(_BACKGROUND, tasks.fingerprint, (data, model, *self._terms))

    def query(self, data: bytes, model: ModelInfo | None) -> Future[Query]:
        """A picture as it is asked about."""
        return self._submit(_ASKED, tasks.query, (data, model, *self._terms))

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run a pure function that can be imported and whose declared return type is plain data (see ``replies``)."""
        return self._submit(_ASKED, function, arguments)

    def close(self) -> None:
        """Cancel the jobs that have not begun, wait for those that have, end the workers. Closing twice is fine."""
        with self._lock:
            if self._open:
                self._open = False
                self._cancel_waiting()
                for _ in self._threads:
                    self._jobs.put(_Job(_STOP, next(self._numbers), None))
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, priority: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> Future[T]:
        job = _Job(priority, next(self._numbers), function, arguments)
        with self._lock:
            if not self._open:
                raise InternalError("the worker pool is closed")
            self._jobs.put(job)
        return job.future

    def _cancel_waiting(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            job.future.cancel()
            job.future.set_running_or_notify_cancel()


class _Keeper:
    """Keeps one worker running and feeds it."""

    def __init__(self, jobs: queue.PriorityQueue[_Job[Any]], memory_mb: int, timeout_s: float) -> None:
        self._jobs = jobs
        self._memory_mb = memory_mb
        self._timeout_s = timeout_s
        self._worker: _Worker | None = None

    def run(self) -> None:
        self._start()
        while self._serve_one():
            pass
        if self._worker is not None:
            self._worker.close()

    def _serve_one(self) -> bool:
        """Take one job and settle it. What it held is let go before the next is waited for."""
        job = self._jobs.get()
        if job.function is None:
            return False
        if job.future.set_running_or_notify_cancel():
            self._settle(job)
        return True

    def _settle(self, job: _Job[Any]) -> None:
        try:
            result = self._do(job)
        except ShazimdError as error:
            job.future.set_exception(error)
        except Exception as error:
            # Arguments that can't be pickled: the caller's mistake, and no reason to lose this thread.
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _do(self, job: _Job[T]) -> T:
        assert job.function is not None
        request = pickle.dumps((job.function, job.arguments), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            reply = self._live_worker().ask(request, self._timeout_s)
        except WorkerFailed:
            self._start()
            raise
        return replies.unpack(reply, job.function)

    def _live_worker(self) -> _Worker:
        """A worker that is ready; another one when the last died while idle. Raises WorkerFailed."""
        if self._worker is None or not self._worker.is_alive():
            self._start()
        assert self._worker is not None
        self._worker.wait_until_ready()
        return self._worker

    def _start(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = _Worker(self._memory_mb)


class _Worker:
    """A worker process, seen from the pool."""

    def __init__(self, memory_mb: int) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(memory_mb), str(os.getpid())]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-B", "-m", "shazimd.workers.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | _ONE_THREAD,
            )
        self._ready = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Raises WorkerFailed when it dies or takes too long instead."""
        if not self._ready:
            self._exchange(None, START_TIMEOUT_S, "the start")
            self._ready = True

    def ask(self, request: bytes, timeout_s: float) -> bytearray:
        """The worker's reply. Raises WorkerFailed when there is none; the worker is of no use then."""
        return self._exchange(request, timeout_s, "the job")

    def _exchange(self, request: bytes | None, timeout_s: float, what: str) -> bytearray:
        deadline = time.monotonic() + timeout_s
        try:
            if request is not None:
                channel.send(self._connection, request, deadline)
            reply = channel.receive(self._connection, limit=REPLY_BYTES_MAX, deadline=deadline)
        except TimeoutError as error:
            raise WorkerFailed(f"{what} took longer than {timeout_s:g} s") from error
        except ConnectionError as error:
            raise WorkerFailed(f"{what} {self._cause_of_death()}") from error
        except ValueError as error:
            raise WorkerFailed(f"{what} failed: {error}") from error
        if reply is None:
            raise WorkerFailed(f"{what} {self._cause_of_death()}")
        return reply

    def _cause_of_death(self) -> str:
        try:
            status = self._process.wait(_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "closed its worker's connection"
        if status >= 0:
            return f"ended its worker: exit status {status}"
        name = signal.Signals(-status).name
        hint = ", as the kernel does when memory runs out" if -status == signal.SIGKILL else ""
        return f"crashed its worker: signal {-status} ({name}){hint}"

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let it end, which an idle one does at once."""
        self._connection.close()
        try:
            self._process.wait(_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

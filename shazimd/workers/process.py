"""A worker process, seen from the pool: start, request and reply, end."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from shazimd.errors import WorkerFailed, WorkerLost
from shazimd.models.model import ModelInfo
from shazimd.workers import messages
from shazimd.workers.confinement import confine
from shazimd.workers.messages import MalformedReply, Request

MODULE = "shazimd.workers.worker_main"
"""The program of a worker."""
START_TIMEOUT_S = 60.0
"""A cold disk under load may take long to import NumPy and OpenCV; normally a third of a second."""
REPLY_BYTES_MAX = 1 << 24
"""A query with 8 vectors is some 70 KB. Limits the memory a hijacked worker can make the daemon allocate."""

NICE = 10
"""Added to the daemon's own, for workers beside which another answers questions: a tenth of its share where they
compete."""
NICE_MAX = 19

_DEATH_TIMEOUT_S = 5.0
_FROM_OUTSIDE: dict[int, str] = {
    signal.SIGKILL: "the kernel sends it when memory runs out",
    signal.SIGTERM: "sent by another process",
    signal.SIGHUP: "sent by another process",
    signal.SIGINT: "sent by another process",
    signal.SIGQUIT: "sent by another process",
}
"""Signals that no decoder raises by a fault of its own."""
_KEPT_VARIABLES = ["PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE"]
"""Of the environment: the places of libraries, and how paths of models are read. Other variables may hold secrets."""
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""glibc asks for pages of 2 MiB for the heap, where the kernel gives them on request (``madvise`` in its
admin-guide/mm/transhuge, the usual setting): a twentieth of the time of a picture."""


class WorkerCrashed(WorkerFailed):
    """The worker died by a fault of its own: of its last job, or of an earlier one that left its memory in disorder."""


class WorkerProcess:
    """A fresh interpreter, never a fork: a fork would share the store's open file.

    The process ends with its starting thread, even if the daemon is killed.
    """

    def __init__(self, memory_mb: int, timeout_s: float, models: Sequence[ModelInfo] = ()) -> None:
        """``timeout_s``: the most time of a job. ``models``: the only models that its jobs may name.

        Raises WorkerLost if there is no process to be had, no descriptor, or no interpreter."""
        self._models = models
        self._timeout_s = timeout_s
        self.missing_layers: list[str] | None = None
        """layers of the confinement that could not be had, each with the reason; None until the worker is ready"""
        try:
            self._connection, self._process = _started(models, memory_mb, timeout_s)
        except OSError as error:
            raise WorkerLost(f"no worker can be started: {error}; not the picture's fault") from error
        self.jobs_done = 0
        """jobs with a reply, errors included"""

    def yield_to_others(self) -> None:
        """Lower the worker's priority for the processor, for good."""
        with suppress(ProcessLookupError, PermissionError):  # it is dead, as its next job tells; or a filter of calls
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, self._process.pid, min(own + NICE, NICE_MAX))

    def knows(self, model: ModelInfo | None) -> bool:
        """Whether a job may name this model."""
        return model is None or model in self._models

    def has_sent_unasked(self) -> bool | None:
        """Whether a worker without a job has sent anything; None if it is dead."""
        try:
            sent = messages.peeked(self._connection)
        except OSError:
            return None
        return None if sent == b"" else sent is not None and self.missing_layers is not None

    def wait_until_ready(self) -> None:
        """Raises WorkerLost if it dies or takes too long instead."""
        if self.missing_layers is None:
            try:
                reply = self._exchange(None, START_TIMEOUT_S, "the start")
                self.missing_layers = messages.unpack_reply(reply, confine)
            except WorkerLost:
                raise
            except WorkerFailed as error:
                raise WorkerLost(f"{error}; not the picture's fault") from error

    def ask(self, request: Request) -> bytearray:
        """The reply to a job. Raises WorkerFailed without a reply; WorkerLost if no job is to blame, MalformedReply or
        WorkerCrashed if an earlier job may be.

        The worker must then be replaced."""
        reply = self._exchange(request, self._timeout_s, "the job")
        self.jobs_done += 1
        return reply

    def _exchange(self, request: Request | None, timeout_s: float, step: str) -> bytearray:
        deadline = time.monotonic() + timeout_s
        job = messages.START if request is None else messages.job_number()
        try:
            if request is not None:
                pictures = [picture.fileno() for picture in request.pictures]
                messages.send(self._connection, job, request.message, deadline, pictures)
            reply = messages.receive(self._connection, limit=REPLY_BYTES_MAX, deadline=deadline)
        except TimeoutError as error:
            raise WorkerFailed(f"{step} took longer than {timeout_s:g} s") from error
        except ConnectionError as error:
            raise self._death(step) from error
        except ValueError as error:
            raise MalformedReply(f"{step} failed: {error}") from error
        if reply is None:
            raise self._death(step)
        if reply.job != job:
            raise MalformedReply(f"{step} failed: its worker has replied to another job")
        return reply.message

    def _death(self, step: str) -> WorkerFailed:
        try:
            status = self._process.wait(_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return WorkerCrashed(f"{step} closed its worker's connection")
        if status >= 0:
            return WorkerCrashed(f"{step} ended its worker: exit status {status}")
        if -status == signal.SIGPROF:
            return WorkerFailed(f"{step} took more processor time than a picture of its size may")
        name = _named(-status)
        if cause := _FROM_OUTSIDE.get(-status):
            return WorkerLost(f"the worker was killed by {name}: {cause}; not the picture's fault")
        return WorkerCrashed(f"{step} crashed its worker: {name}")

    def end_job(self) -> None:
        """Kill the worker, from any thread: who waits for a reply gets WorkerLost."""
        self._process.kill()

    def close(self) -> None:
        """Kill the worker: it holds nothing but its job. An orderly end would take 14 ms of a processor, and of a
        worker that has only just started the rest of the start, 200 ms."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _named(number: int) -> str:
    """A signal for a message; real-time signals have numbers only."""
    known = number in set(signal.Signals)
    return f"signal {number} ({signal.Signals(number).name})" if known else f"signal {number}"


def _started(
    models: Sequence[ModelInfo], memory_mb: int, timeout_s: float
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A worker and the connection to it, on which its models are sent already. Raises OSError."""
    with ExitStack() as closed_in_vain:
        connection, theirs = socket.socketpair()
        closed_in_vain.enter_context(connection)
        with theirs:
            connection.setblocking(False)
            messages.send(connection, messages.START, pickle.dumps(list(models)))
            process = _program(theirs, memory_mb, timeout_s)
        closed_in_vain.pop_all()
    return connection, process


def _program(theirs: socket.socket, memory_mb: int, timeout_s: float) -> subprocess.Popen[bytes]:
    arguments = [str(theirs.fileno()), str(memory_mb), str(round(1000 * timeout_s)), str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-P", "-B", "-m", MODULE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _ONE_THREAD | _LARGE_PAGES,
    )

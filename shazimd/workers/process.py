"""A worker process, seen from the pool: start, request and reply, end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from shazimd.errors import WorkerFailed
from shazimd.workers import channel

START_TIMEOUT_S = 60.0
"""A cold disk under load may take long to import NumPy and OpenCV; normally a third of a second."""
REPLY_BYTES_MAX = 1 << 24
"""A query with 8 vectors is some 70 KB. Limits the memory a hijacked worker can make the daemon allocate."""

_DEATH_TIMEOUT_S = 5.0
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


class WorkerProcess:
    """A fresh interpreter, never a fork: a fork would share the store's open file.

    The process ends with its starting thread, even if the daemon is killed.
    """

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
        """Raises WorkerFailed if it dies or takes too long instead."""
        if not self._ready:
            self._exchange(None, START_TIMEOUT_S, "the start")
            self._ready = True

    def ask(self, request: bytes, timeout_s: float) -> bytearray:
        """The reply to a job. Raises WorkerFailed without a reply; the worker must then be replaced."""
        return self._exchange(request, timeout_s, "the job")

    def _exchange(self, request: bytes | None, timeout_s: float, step: str) -> bytearray:
        deadline = time.monotonic() + timeout_s
        try:
            if request is not None:
                channel.send(self._connection, request, deadline)
            reply = channel.receive(self._connection, limit=REPLY_BYTES_MAX, deadline=deadline)
        except TimeoutError as error:
            raise WorkerFailed(f"{step} took longer than {timeout_s:g} s") from error
        except ConnectionError as error:
            raise WorkerFailed(f"{step} {self._cause_of_death()}") from error
        except ValueError as error:
            raise WorkerFailed(f"{step} failed: {error}") from error
        if reply is None:
            raise WorkerFailed(f"{step} {self._cause_of_death()}")
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
        """Close the connection, which ends an idle worker at once, and wait for the end."""
        self._connection.close()
        try:
            self._process.wait(_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

"""Daemons by fork, from a process that has loaded their modules: to load them takes most of the time of a start.

``ForkedDaemon`` is used as ``subprocess.Popen`` is. A daemon has the environment and the folder of the test.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import IO

REQUEST_BYTES_MAX = 1 << 17


class Nursery:
    """The process that forks: the daemons are its children, so it is asked how they ended."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()])

    def fork(self, arguments: Sequence[str], log: IO[bytes]) -> int:
        """The process id of a daemon that writes to this log."""
        request = {"arguments": arguments, "environ": dict(os.environ), "folder": os.getcwd()}
        return self._ask(request, log.fileno())

    def status(self, pid: int) -> int:
        """The exit status of a daemon that has ended, negative for a signal."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        self._channel.close()
        self._process.wait()

    def _ask(self, request: object, *descriptors: int) -> int:
        with self._turn:
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            return int(self._channel.recv(100))


@cache
def nursery() -> Nursery:
    made = Nursery()
    atexit.register(made.close)
    return made


class ForkedDaemon:
    def __init__(self, arguments: Sequence[str], log: IO[bytes]) -> None:
        self.pid = nursery().fork(arguments, log)
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("shazimd", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._descriptor], [], [], timeout_s)[0]:
            self.returncode = nursery().status(self.pid)
            os.close(self._descriptor)
        return self.returncode


def main(channel: socket.socket) -> int:
    """Fork daemons until the tests end. Returns the exit status in each of them."""
    from shazimd.daemon.main import main as daemon

    os.setsid()  # a daemon with a terminal would be stopped by SIGHUP rather than reload
    while True:
        message, descriptors, *_ = socket.recv_fds(channel, REQUEST_BYTES_MAX, 1)
        if not message:
            return 0
        request = json.loads(message)
        if "ended" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1])
        elif not (answer := os.fork()):
            channel.close()
            os.dup2(descriptors[0], 2)
            os.close(descriptors[0])
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environ"])
            return daemon(request["arguments"])
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(answer).encode())


if __name__ == "__main__":
    sys.path.pop(0)  # the tests' folder, which a daemon started by itself does not have
    sys.exit(main(socket.socket(fileno=int(sys.argv[1]))))

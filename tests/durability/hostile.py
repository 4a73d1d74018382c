"""Acts against a running daemon, rather than on its tree: its workers are killed, its socket is flooded."""

from __future__ import annotations

import os
import random
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from world import World

CONNECTIONS = 100


class Hostile:
    """A step that is not possible now, since the daemon is down, does nothing."""

    def __init__(self, running: World, chance: random.Random) -> None:
        self._running = running
        self._chance = chance
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_flood()

    def step(self) -> str:
        """Do something; its name."""
        step = self._chance.choice([self.kill_workers, self.flood])
        if self._running.is_running():
            step()
        return step.__name__

    def kill_workers(self) -> None:
        """As the kernel does when memory runs out, or a person by mistake."""
        assert self._running.process is not None
        for worker in workers(self._running.process.pid):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def flood(self) -> None:
        """Connections of a client that sends the beginning of a request and no more; they stay until the next flood."""
        self.end_flood()
        for _ in range(CONNECTIONS):
            with suppress(OSError):  # it is starting, or refuses them
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(1)
                self._connections.append(connection)
                connection.connect(self._running.socket)
                connection.sendall(b"GET /v1/st")

    def end_flood(self) -> None:
        while self._connections:
            self._connections.pop().close()


def workers(daemon: int) -> list[int]:
    """The worker processes of a daemon."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == daemon and b"worker_main" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from running import Daemon

from shazimd.daemon.main import _fault


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(PATIENCE_S)
        yield listener


def test_a_run_as_the_service_manager_hears_it(daemon: Daemon, manager: socket.socket) -> None:
    """Ready with its status, alive again and again, stopping."""
    daemon.stop()
    daemon.start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="300000")
    heard = [manager.recv(1000).decode()]
    while heard[-1].startswith("STATUS=starting: "):  # a slow start asks for more time
        heard = [manager.recv(1000).decode()]
    assert heard[0].startswith("READY=1\nSTATUS=")
    while heard.count("WATCHDOG=1") < 3 or "STATUS=ready: 3 images in 1 directory" not in heard:
        heard.append(manager.recv(1000).decode())  # raises TimeoutError where neither comes
    daemon.process.send_signal(signal.SIGTERM)
    while not heard[-1].startswith("STOPPING=1"):  # read while it stops: a full socket holds its sender up
        heard.append(manager.recv(1000).decode())
    assert daemon.process.wait(PATIENCE_S) == 0


class Part:
    """An app or a server that is well or not."""

    def __init__(self, *, well: bool) -> None:
        self._well = well

    def alive(self) -> bool:
        return self._well

    def responds(self, _timeout_s: float) -> bool:
        return self._well


@pytest.mark.parametrize(
    ("threads", "loop_turns", "fault"),
    [
        (True, True, None),
        (False, True, "a thread that watches or follows has ended"),
        (True, False, "the server's event loop took no turn for 10 s"),
    ],
)
def test_the_watchdog_is_answered_only_while_all_works(threads: bool, loop_turns: bool, fault: str | None) -> None:
    """A thread that ended, or an event loop that hangs, is a fault."""
    app: Any = Part(well=threads)
    server: Any = Part(well=loop_turns)
    assert _fault(app, server) == fault

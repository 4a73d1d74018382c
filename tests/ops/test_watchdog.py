from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Daemon

from shazimd.daemon.main import _fault
from shazimd.errors import DaemonUnreachable


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(20)
        yield listener


def test_a_run_as_the_service_manager_hears_it(daemon: Daemon, manager: socket.socket) -> None:
    """Ready with its status, alive again and again, stopping."""
    daemon.stop()
    daemon.start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="300000")
    heard = [manager.recv(1000).decode()]
    assert heard[0].startswith("READY=1\nSTATUS=")
    while heard.count("WATCHDOG=1") < 3:
        heard.append(manager.recv(1000).decode())
    assert "STATUS=ready: 3 images in 1 directories" in heard
    daemon.stop()
    while not heard[-1].startswith("STOPPING=1"):
        heard.append(manager.recv(1000).decode())


class Part:
    """A service or a client that is well or not."""

    def __init__(self, *, well: bool) -> None:
        self._well = well

    def alive(self) -> bool:
        return self._well

    def status(self) -> None:
        if not self._well:
            raise DaemonUnreachable("said nothing for 10 s")


@pytest.mark.parametrize(
    ("threads", "socket_answers", "fault"),
    [
        (True, True, None),
        (False, True, "a thread that watches or follows has ended"),
        (True, False, "said nothing for 10 s"),
    ],
)
def test_the_watchdog_is_answered_only_while_all_works(threads: bool, socket_answers: bool, fault: str | None) -> None:
    """A thread that ended, or a server that says nothing, is a fault."""
    service: Any = Part(well=threads)
    client: Any = Part(well=socket_answers)
    assert _fault(service, client) == fault

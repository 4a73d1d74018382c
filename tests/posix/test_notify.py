from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S

from shazimd.posix.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(PATIENCE_S)
        yield listener


def test_each_message_is_one_datagram(manager: socket.socket) -> None:
    """The service manager reads the lines that sd_notify(3) names."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("3 images")
    notifier.alive()
    notifier.stopping("bye")
    assert [manager.recv(1000) for _ in range(3)] == [
        b"READY=1\nSTATUS=3 images",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=bye",
    ]


def test_no_status_can_forge_a_message(manager: socket.socket) -> None:
    """A file's name in a status line stays in that line."""
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).status("reading a\nSTOPPING=1")
    assert manager.recv(1000) == rb"STATUS=reading a\nSTOPPING=1"


def test_an_abstract_socket_is_reached() -> None:
    """An address that begins with @ lies in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0shazimd-test-{os.getpid()}")
        listener.settimeout(PATIENCE_S)
        Notifier({"NOTIFY_SOCKET": f"@shazimd-test-{os.getpid()}"}).alive()
        assert listener.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_answered_three_times_as_often_as_asked(
    environ: dict[str, str], expected: float | None
) -> None:
    """The interval is a third of WatchdogSec, and only for the process that is asked."""
    assert Notifier(environ).watchdog_interval_s == expected


def test_children_inherit_no_way_to_speak() -> None:
    """The variables are taken out of the environment, so a worker can't answer for the daemon."""
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}


def test_silence_without_a_manager(tmp_path: Path) -> None:
    """Without $NOTIFY_SOCKET, or with nobody listening there, nothing happens."""
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")

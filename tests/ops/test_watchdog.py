from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from patience import PATIENCE_S
from running import Daemon

from shazimd.daemon.main import _fault, _watch_health
from shazimd.posix.notify import Notifier
from shazimd.store.lmdb_store import Gate


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


def test_the_watchdog_is_answered_while_the_status_waits(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does while the store grows; it is reported later."""
    monkeypatch.setattr("shazimd.daemon.main.STATUS_TIMEOUT_S", 0.01)
    gate, stop = Gate(), threading.Event()
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000"})
    well, stops, service = cast("Any", Part(well=True)), cast("Any", stop), cast("Any", Waiting(gate))
    with ThreadPoolExecutor(1) as pool:
        try:
            with gate.alone(PATIENCE_S):
                watching = pool.submit(_watch_health, stops, notifier, service, well, well)
                assert {manager.recv(1000) for _ in range(5)} == {b"WATCHDOG=1"}
            while manager.recv(1000) != b"STATUS=ready: 3 images in 0 directories":
                pass
        finally:
            stop.set()
            manager.close()  # a full socket holds its sender up
        watching.result()


class Waiting:
    """A service whose status waits at a gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def status(self) -> dict[str, Any]:
        with self._gate.shared():
            return {"state": "ready", "images": 3, "roots": [], "pending": 0}


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

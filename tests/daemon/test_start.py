"""Faults at the start: those that may pass are waited for, the others end the daemon with a status of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from daemon_process import DaemonProcess, daemon_process, drawing
from patience import PATIENCE_S

from shazimd.client import Client
from shazimd.daemon import start
from shazimd.daemon.start import Patience, Stopped, exit_status
from shazimd.errors import (
    ConfigError,
    NotReady,
    ShazimdError,
    StoreDamaged,
    StoreError,
    StoreFull,
    Unavailable,
    UsageError,
)
from shazimd.server.sockets import refuse_waiting

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path) as daemon:
        drawing(1).save(daemon.root / "1.png")
        yield daemon


@pytest.fixture
def disk(daemon: DaemonProcess) -> Iterator[str]:
    """A small disk of its own for the store."""
    daemon.store.mkdir()
    path = str(daemon.store)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    daemon.close()
    subprocess.run(["umount", "--lazy", path], check=True)


@needs_root
def test_a_read_only_disk_is_waited_for(daemon: DaemonProcess, disk: str) -> None:
    """The log says so once, and the daemon starts when the disk can be written to."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    daemon.spawn()
    waits = daemon.wait_for("start_waits")
    assert (waits["level"], waits["code"]) == ("warning", "store_full")
    assert "Read-only file system" in waits["reason"]
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    daemon.wait_for("started")
    assert len(daemon.events("start_waits")) == 1


@needs_root
def test_a_full_disk_is_waited_for(daemon: DaemonProcess, disk: str) -> None:
    """The daemon starts when there is room."""
    with pytest.raises(OSError, match="No space left"):
        Path(disk, "ballast").write_bytes(bytes(8 << 20))
    daemon.spawn()
    assert daemon.wait_for("start_waits")["code"] == "store_full"
    os.unlink(f"{disk}/ballast")
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    daemon.wait_for("started")


@needs_root
def test_a_socket_directory_that_cannot_be_made_yet_is_waited_for(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The store is open meanwhile; the daemon answers once the directory can be made."""
    place = Path(daemon.socket).parent / "d"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    daemon.socket = str(place / "run" / "s")
    try:
        daemon.spawn()
        assert daemon.wait_for("start_waits")["code"] == "not_ready"
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # the daemon may look there just now
    daemon.wait_for("started")
    daemon.wait_until(lambda: daemon.status()["state"] in ("baseline", "ready"))


@needs_root
def test_the_wait_is_ended_by_a_signal(daemon: DaemonProcess, disk: str) -> None:
    """A daemon that waits is stopped like any other."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    daemon.spawn()
    daemon.wait_for("start_waits")
    assert daemon.stop() == 0
    assert daemon.events()[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (ConfigError("x"), 2),
        (StoreError("x"), 5),
        (StoreDamaged("x"), 6),
        (StoreFull("x"), 75),
        (NotReady("x"), 75),
    ],
)
def test_each_kind_of_fault_has_its_exit_status(error: ShazimdError, status: int) -> None:
    """A manager or a person can tell who has to act."""
    assert exit_status(error) == status


def test_a_damaged_store_ends_the_daemon_at_once(daemon: DaemonProcess) -> None:
    """It waits for a person: status 6, and the damage is named."""
    daemon.store.mkdir()
    (daemon.store / "data.mdb").write_bytes(b"damage")
    assert daemon.spawn().wait(PATIENCE_S) == 6
    assert daemon.events()[-1]["code"] == "store_damaged"


def failing(*faults: ShazimdError) -> Any:
    """A start that fails by these, and then succeeds."""
    return Mock(side_effect=[*faults, "started"])


def patience(wait_max_s: float, *, stopped: bool = False) -> tuple[Patience, Mock, Mock]:
    notifier, refuse = Mock(), Mock()
    return Patience(lambda _seconds: stopped, notifier, refuse, wait_max_s), notifier, refuse


def test_patience_tells_the_manager_and_the_clients() -> None:
    """Each retry asks the service manager for more time, and answers the clients that came meanwhile."""
    patient, notifier, refuse = patience(60)
    fault = NotReady("no directory")
    assert patient.until_done(failing(fault, fault)) == "started"
    asked = [call.args[0] for call in notifier.starting.call_args_list if call.args[0] != "starting: reading the store"]
    assert asked == ["waiting to start: no directory"] * 2
    assert [call.args[0] for call in refuse.call_args_list] == [fault, fault]


def test_a_long_start_asks_for_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that looks through a large store; once it is done, nothing more is asked."""
    monkeypatch.setattr(start, "ASK_EVERY_S", 0.01)
    patient, notifier, _ = patience(60)
    asked = threading.Event()
    notifier.starting.side_effect = lambda *_: asked.set()
    assert patient.until_done(lambda: asked.wait(PATIENCE_S))
    assert notifier.starting.call_args.args == ("starting: reading the store", 0.03)
    assert "start-time" not in {thread.name for thread in threading.enumerate()}


def test_patience_has_an_end() -> None:
    """After the time the fault is raised: another process may see what this one does not."""
    with pytest.raises(StoreFull):
        patience(0)[0].until_done(failing(StoreFull("full")))


def test_other_faults_are_not_waited_for() -> None:
    """What a person must mend is raised at once."""
    with pytest.raises(StoreDamaged):
        patience(60)[0].until_done(failing(StoreDamaged("damage")))


def test_a_stop_ends_patience() -> None:
    """It is told apart from the fault."""
    with pytest.raises(Stopped):
        patience(60, stopped=True)[0].until_done(failing(NotReady("x")))


def test_clients_that_wait_are_answered_when_the_start_fails(tmp_path: Path) -> None:
    """Each gets the reason, also if a name in it is not UTF-8, and none is left: the service manager would start the
    daemon for it again and again."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        errors: list[ShazimdError] = []

        def ask() -> None:
            with pytest.raises(Unavailable) as refused:
                Client(path).status()
            errors.append(refused.value)

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            refuse_waiting([listener], ConfigError("\udcff/c.toml: a typing error"))
            clients[0].join(0.01)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert [str(error) for error in errors] == ["the daemon can't start: \\xff/c.toml: a typing error"] * 3

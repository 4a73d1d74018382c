"""Large pictures in requests to a real daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon_process import DaemonProcess, daemon_process

from shazimd.client import Client
from shazimd.errors import NotAnImage

LARGE = bytes(24 << 20)
"""A user's share of a small machine is 32 MiB."""


def test_they_are_no_part_of_the_daemons_own_memory(tmp_path: Path) -> None:
    """They are in sealed memory, once, from the first byte on, in a search and in a comparison."""
    with daemon_process(tmp_path) as daemon:
        daemon.start()
        daemon.settled()
        client = Client(daemon.socket)
        for small in (b"no picture", LARGE[:70_000]):
            _ask(client, small)
        before = _most(daemon)
        _ask(client, LARGE)
        assert _most(daemon) - before < len(LARGE) / 2


def _ask(client: Client, body: bytes) -> None:
    with pytest.raises(NotAnImage):
        client.find(body)
    with pytest.raises(NotAnImage):
        client.compare(body[: len(body) // 2], body[: len(body) // 2])


def _most(daemon: DaemonProcess) -> int:
    """The most memory that the daemon has had resident, in bytes."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (kilobytes,) = (line.split()[1] for line in fields.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) << 10

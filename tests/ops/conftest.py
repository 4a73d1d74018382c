from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from running import Daemon, draw


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon with three pictures known."""
    folder = tmp_path_factory.mktemp("d")
    daemon = Daemon(folder)
    for number in range(3):
        draw(daemon.photos / f"{number}.png", 3 * number)
    daemon.start()
    yield daemon
    if daemon.process.poll() is None:
        os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.stop()

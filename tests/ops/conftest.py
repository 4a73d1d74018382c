from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import Daemon, draw


@pytest.fixture(scope="module")
def one_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for all tests of a module: to start one takes longer than most of them."""
    daemon = Daemon(tmp_path_factory.mktemp("d"))
    for number in range(3):
        draw(daemon.photos / f"{number}.png", 3 * number)
    daemon.start()
    yield daemon
    if daemon.process.poll() is None:
        daemon.stop()


@pytest.fixture
def daemon(one_daemon: Daemon) -> Daemon:
    """A running daemon that watches at least three pictures, with a config as it was at first."""
    one_daemon.configure()
    if one_daemon.process.poll() is None:
        one_daemon.client.reload()
        one_daemon.wait_ready()
    else:
        one_daemon.start()
    return one_daemon

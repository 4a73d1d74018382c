from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from linked import LinkedHost, new_database
from postgres_server import PostgresServer, running_server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[PostgresServer]:
    """A server for the tests that leave it alone."""
    with running_server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that the test may kill or stop."""
    with running_server() as server:
        yield server


@pytest.fixture
def url(shared_server: PostgresServer) -> str:
    """A database with the tables, of the test's own."""
    return new_database(shared_server)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[[str, str], LinkedHost]]:
    """Makes hosts, which are ended with the test."""
    with ExitStack() as opened:
        yield lambda name, url: opened.enter_context(closing(LinkedHost(tmp_path / name, name, url)))

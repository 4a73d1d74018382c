"""Parts on their way to a daemon: in order, the next fetched meanwhile, and none after a failure."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from patience import PATIENCE_S

from shazimd.cluster.base import Cluster, Content, FilesPage, SharedFile
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.deliver import PART, Delivery
from shazimd.errors import DaemonUnreachable
from shazimd.types import Digest


class FakeDaemon:
    """Knows no content but those given."""

    def __init__(self) -> None:
        self.put: list[tuple[int, int, str | None]] = []
        """files, contents and position of each part"""
        self.may_write = threading.Event()
        self.failures = 0
        self.forgets = False

    def missing_contents(self, _host: str, batch: bytes) -> list[str]:
        return [] if self.forgets else [each["content"] for each in msgspec.msgpack.decode(batch)["put"]]

    def put_foreign(self, _host: str, batch: bytes, position: str | None, *, complete: bool) -> dict[str, Any]:
        assert self.may_write.wait(PATIENCE_S)
        given = msgspec.msgpack.decode(batch)
        if self.failures:
            self.failures -= 1
            raise DaemonUnreachable("it was stopped")
        known = {each["content"] for each in given["contents"]}
        missing = [each["content"] for each in given["put"] if each["content"] not in known]
        if missing and not complete:
            return {"missing": missing, "refused": []}
        self.put.append((len(given["put"]), len(given["contents"]), position))
        return {"missing": [], "refused": []}


class FakeDatabase:
    def __init__(self) -> None:
        self.fetched = threading.Semaphore(0)

    def contents(self, _host: str, digests: Sequence[Digest]) -> list[Content]:
        self.fetched.release()
        return [{"content": digest.hex(), "features": b"\xff"} for digest in digests]


def page(*numbers: int) -> FilesPage:
    files = [SharedFile(b"/%d.jpg" % n, n.to_bytes(32), "3/", 1, 1) for n in numbers]
    return FilesPage(files, [], "", is_last=False)


def delivery(daemon: FakeDaemon, database: FakeDatabase, at_once: int = 1) -> Delivery:
    return Delivery(cast(Cluster, database), cast(LinkClient, daemon), "nas", at_once)


def test_the_next_part_is_fetched_while_one_is_written() -> None:
    """They are written in their order, and are there at the end; the position goes with the last of a page."""
    daemon, database = FakeDaemon(), FakeDatabase()
    with delivery(daemon, database) as parts:
        parts.put(page(1), "1.a")
        parts.put(page(2), "2.a")
        for _ in range(2):
            assert database.fetched.acquire(timeout=PATIENCE_S)
        assert daemon.put == []
        daemon.may_write.set()
        parts.put(page(*range(3, 4 + PART)), "3.a")
    assert daemon.put == [(1, 1, "1.a"), (1, 1, "2.a"), (PART, PART, None), (1, 1, "3.a")]


def test_nothing_is_written_after_a_failure() -> None:
    """A later position would pass over the lost files."""
    daemon, database = FakeDaemon(), FakeDatabase()
    daemon.failures = 1

    def put_two() -> None:
        with delivery(daemon, database) as parts:
            parts.put(page(1), "1.a")
            parts.put(page(2), "2.a")
            daemon.may_write.set()

    with pytest.raises(DaemonUnreachable):
        put_two()
    assert daemon.put == []


def test_contents_that_are_forgotten_meanwhile_are_fetched_again() -> None:
    daemon, database = FakeDaemon(), FakeDatabase()
    daemon.forgets = True
    daemon.may_write.set()
    with delivery(daemon, database) as parts:
        parts.put(page(1, 2), "1.a")
    assert daemon.put == [(2, 2, "1.a")]


def test_a_page_of_deletions_asks_for_no_contents() -> None:
    daemon, database = FakeDaemon(), FakeDatabase()
    daemon.may_write.set()
    with delivery(daemon, database, at_once=2) as parts:
        parts.put(FilesPage([], [b"/gone.jpg"], "1.a", is_last=True), "1.a")
    assert daemon.put == [(0, 0, "1.a")]
    assert not database.fetched.acquire(blocking=False)

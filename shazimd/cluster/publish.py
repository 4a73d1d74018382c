"""Tells the cluster of this host's files, as its daemon's feed has them.

The position in the feed is kept in the database, with the files: when the server lost its last transactions, what they
had is sent again, and when the daemon's store is another or an older one, all is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import structlog

from shazimd.cluster.base import Cluster, Push, SharedFile
from shazimd.cluster.daemon import LinkClient
from shazimd.protocol.cluster import ChangedFile, ChangesPage
from shazimd.server.cluster_verbs import DIGESTS_MAX
from shazimd.text import path_bytes
from shazimd.types import Digest

log = structlog.get_logger()

PAGE = 500
WAIT_S = 10
"""The daemon answers earlier when a file changes."""
LOOK_S = 0.5
NOT_COMPARED = ("unavailable", "held", "failed")
"""States of roots whose files are kept as they are known."""
TRIM_EVERY_S = 10.0
"""Also the time until a link without changes notices that the server is another."""

T = TypeVar("T")


class Publisher:
    """One thread at a time; ``run`` again after an error."""

    def __init__(self, connect: Callable[[], Cluster], daemon: LinkClient, joined: Callable[[], object]) -> None:
        """``joined`` is called whenever the cluster knows this host."""
        self._connect = connect
        self._daemon = daemon
        self._joined = joined
        self._pushed: str | None = None
        """the position after the last push of this process"""

    def run(self, is_stopped: Callable[[], bool], working: Callable[[], None]) -> None:
        """Push changes until stopped; ``working`` is called whenever all is well. Raises ShazimdError."""
        with closing(self._connect()) as cluster:
            position = cluster.join(self._model())
            self._joined()
            lost_until = self._pushed if is_behind(position, self._pushed) else None
            if lost_until is not None:
                log.warning("cluster_lost_changes", position=position, told_before=lost_until)
            trimmed = 0.0
            while not is_stopped():
                working()
                page: ChangesPage | None = self._daemon.changes(position, PAGE, WAIT_S)
                if page and page["restarted"] and position is not None:
                    page = self._daemon.changes(position, PAGE) if self._has_compared() else None
                if page is None:
                    time.sleep(LOOK_S)
                elif page["after"] != position:
                    is_old = lost_until is not None and not is_behind(lost_until, page["after"])
                    self._push(cluster, page, is_old=is_old)
                    position = self._pushed = page["after"]
                if time.monotonic() - trimmed > TRIM_EVERY_S:
                    cluster.trim(self._model())
                    trimmed = time.monotonic()

    def _model(self) -> str | None:
        return self._daemon.status()["model"]["id"]

    def _has_compared(self) -> bool:
        """Whether the daemon has compared its roots with the disk. A store from a backup lacks the files that came
        later: read before, they would be gone, then new, and their copies told a second time."""
        status = self._daemon.status()
        roots = [root for root in status["roots"] if root["state"] not in NOT_COMPARED]
        return status["pending"] == 0 and all(root["compared_at"] is not None for root in roots)

    def _push(self, cluster: Cluster, page: ChangesPage, *, is_old: bool) -> None:
        shared = [_shared(each) for each in page["changes"] if each["content"] is not None]
        lacking = cluster.lacking({file.digest: file.made for file in shared})
        put: set[Digest] = set()
        for some in batches(lacking, DIGESTS_MAX):
            found = self._daemon.fingerprints([digest.hex() for digest in some])
            cluster.put_contents(found)
            put |= {bytes.fromhex(each["content"]) for each in found}
        there = put | {file.digest for file in shared}.difference(lacking)
        push = Push(
            files=[file for file in shared if file.digest in there],
            gone=[path_bytes(each) for each in page["changes"] if each["content"] is None],
            position=page["after"],
            is_old=is_old,
            begins_reading=page["restarted"],
            reads=page["reading"],
            ends_reading=page["ended"],
        )
        cluster.push(push, frozenset(put))
        log.debug(
            "cluster_pushed", files=len(push.files), gone=len(push.gone), contents=len(put), position=push.position
        )


def is_behind(position: str | None, other: str | None) -> bool:
    """Whether a position in the feed is before another. A push may be committed though its connection broke before the
    answer: a greater position is no loss."""
    return other is not None and (position is None or _number(position) < _number(other))


def _number(position: str) -> int:
    return int(position.partition(".")[0])


def batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _shared(change: ChangedFile) -> SharedFile:
    assert change["content"] is not None
    digest = bytes.fromhex(change["content"])
    return SharedFile(path_bytes(change), digest, change["made"], change["size_bytes"], change["mtime_ns"])

"""Brings the files of other hosts to this host's daemon, and has the alerts about them decided; for a daemon without
their local features also those needed by searches.

The position of each host is kept by the daemon, in the write of the files: after a kill or a restore the next pass goes
on from the daemon's own position.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from math import inf

import msgspec
import structlog

from shazimd.cluster.base import Cluster, FilesPage
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.deliver import Delivery
from shazimd.errors import ShazimdError
from shazimd.protocol.cluster import UndecidedFile
from shazimd.text import path_bytes

log = structlog.get_logger()

READ_AT_ONCE = 3
"""Parts given to the daemon at a time while all files of a host are read: a part is flushed, the next is checked, and
the third waits; two often share the next flush."""
WAIT_S = 10.0
"""Pause without a notification: one may get lost with a connection."""
DECIDE_S = 0.3
"""Time for decisions before the next look for changes: each is a search, and other hosts' pictures are not to wait for
many of them."""
UNDECIDED_MAX = 100
"""Files that the daemon lists at once."""
FOLLOWS_EVERY_S = 3600.0
"""Longest time between two notes of a position in the database: a host without changes for a day would count as not
followed any more, and trim its next change at once."""
ALL = "*"
FEATURES_WAIT_S = 20
"""The daemon answers earlier when a search waits for features."""


class Follower:
    """One thread at a time; ``run`` again after an error."""

    def __init__(
        self,
        connect: Callable[[], Cluster],
        daemon: LinkClient,
        follow: Sequence[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._daemon = daemon
        self._follow = frozenset(follow)
        self._monotonic = monotonic
        self._failed: set[int] = set()
        """files whose decision raised an error: the others come first"""
        self._noted: dict[str, float] = {}
        """when each host's position was noted in the database"""

    def run(self, is_stopped: Callable[[], bool], working: Callable[[], None]) -> None:
        """Follow until stopped; ``working`` is called whenever all is well. Raises ShazimdError."""
        with closing(self._connect()) as cluster:
            while not is_stopped():
                is_done = self._pass(cluster)
                working()
                if is_done:
                    cluster.wait(WAIT_S)

    def _pass(self, cluster: Cluster) -> bool:
        """Fetch all that was pushed, then decide for a while what was waiting for it; False if more can be decided."""
        foreign = self._daemon.foreign()
        waiting = foreign["undecided"]
        files = [(path_bytes(each), bytes.fromhex(each["content"])) for each in waiting]
        landed = cluster.landed(files) if files else []
        wanted = [host for host in cluster.others() if ALL in self._follow or host in self._follow]
        known = {each["host"]: each["position"] for each in foreign["hosts"]}
        for host in known.keys() - set(wanted):
            self._daemon.forget_foreign(host)
        for host in wanted:
            self._fetch(cluster, host, known.get(host))
        self._daemon.link_is_behind(0)
        decidable = [
            (each, number) for each, number in zip(waiting, landed, strict=True) if number is not None or each["gone"]
        ]
        return self._decide(decidable) and (not decidable or len(waiting) < UNDECIDED_MAX)

    def _decide(self, files: Sequence[tuple[UndecidedFile, int | None]]) -> bool:
        """Have files decided for a while; False if some are left. Raises the first error, after the others' turn: one
        file that can't be decided does not keep the others from it."""
        left = sorted(files, key=lambda found: found[0]["id"] in self._failed)
        end, fault = self._monotonic() + DECIDE_S, None
        while left and self._monotonic() <= end:
            each, number = left.pop(0)
            try:
                self._daemon.decide_foreign(each["id"], number or 0, each["content"])
            except ShazimdError as error:
                fault = fault or error
                self._failed.add(each["id"])
            else:
                self._failed.discard(each["id"])
                log.debug("cluster_decided", id=each["id"], path=each["path"], order=number)
        if fault is not None:
            raise fault
        return not left

    def _fetch(self, cluster: Cluster, host: str, position: str | None) -> None:
        """Bring the daemon up to date with a host."""
        at, left = position, 0
        with Delivery(cluster, self._daemon, host) as delivery:
            while (page := cluster.changes(host, at)) is not None:
                if not page.is_last:
                    left = self._say_left(left or cluster.count(host, at), page)
                if page.position != at:
                    delivery.put(page, page.position)
                    at = page.position
                if page.is_last:
                    break
        if page is None:
            self._read_all(cluster, host)
        elif at is not None and (at != position or self._monotonic() - self._noted.get(host, -inf) > FOLLOWS_EVERY_S):
            cluster.follows(host, at)
            self._noted[host] = self._monotonic()

    def _read_all(self, cluster: Cluster, host: str) -> None:
        """Put every file of a host, and remove those that it does not have. Changes meanwhile come after the
        position that is taken first."""
        position, after, last = cluster.position(host), "", False
        if position is None:
            return
        log.info("cluster_host_read", host=host, position=position)
        cluster.follows(host, position)  # its changes from here on are kept
        left = cluster.count(host, None)
        with Delivery(cluster, self._daemon, host, READ_AT_ONCE) as delivery:
            while not last:
                page = cluster.all_files(host, after)
                left = self._say_left(left, page)
                delivery.put(page, None)
                after, last = page.position, page.is_last
        self._sweep(cluster, host)
        self._daemon.put_foreign(host, b"", position, complete=True)

    def _say_left(self, left: int, page: FilesPage) -> int:
        """Tell the daemon how many changes follow, those of a page included; the number after it."""
        self._daemon.link_is_behind(max(1, left))
        return max(0, left - len(page.files) - len(page.gone))

    def _sweep(self, cluster: Cluster, host: str) -> None:
        after: bytes | None = None
        while paths := [path_bytes(each) for each in self._daemon.foreign_paths(host, after)]:
            after = paths[-1]
            if gone := cluster.unknown(host, paths):
                with Delivery(cluster, self._daemon, host) as delivery:
                    delivery.put(FilesPage([], gone, "", is_last=True), None)


class FeatureFetcher:
    """One thread at a time; ``run`` again after an error."""

    def __init__(self, connect: Callable[[], Cluster], daemon: LinkClient) -> None:
        self._connect = connect
        self._daemon = daemon

    def run(self, is_stopped: Callable[[], bool], working: Callable[[], None]) -> None:
        """Fetch until stopped; ``working`` is called whenever all is well. Raises ShazimdError."""
        with closing(self._connect()) as cluster:
            while not is_stopped():
                if wanted := self._daemon.wanted_features(FEATURES_WAIT_S):
                    found = cluster.features([bytes.fromhex(digest) for digest in wanted])
                    self._daemon.put_features(
                        _batch({digest: found.get(bytes.fromhex(digest), b"") for digest in wanted})
                    )
                working()


def _batch(features: dict[str, bytes]) -> bytes:
    """The body with features by digest, empty where the database has none."""
    rows = [{"content": digest, "features": base64.b64encode(packed).decode()} for digest, packed in features.items()]
    return msgspec.json.encode({"contents": rows})

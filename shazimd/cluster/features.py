"""Fetches the local features that the daemon's searches wait for, where it does not keep those of other hosts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing

import msgspec

from shazimd.cluster.base import Cluster
from shazimd.cluster.daemon import LinkClient

WAIT_S = 20
"""The daemon answers earlier when a search waits."""


class FeatureFetcher:
    """One thread at a time; ``run`` again after an error."""

    def __init__(self, connect: Callable[[], Cluster], daemon: LinkClient) -> None:
        self._connect = connect
        self._daemon = daemon

    def run(self, is_stopped: Callable[[], bool], working: Callable[[], None]) -> None:
        """Fetch until stopped; ``working`` is called whenever all is well. Raises ShazimdError."""
        with closing(self._connect()) as cluster:
            while not is_stopped():
                if wanted := self._daemon.wanted_features(WAIT_S):
                    found = cluster.features([bytes.fromhex(digest) for digest in wanted])
                    self._daemon.put_features(
                        _batch({digest: found.get(bytes.fromhex(digest), b"") for digest in wanted})
                    )
                working()


def _batch(features: dict[str, bytes]) -> bytes:
    """The body with features by digest, empty where the database has none."""
    rows = [{"content": digest, "features": base64.b64encode(packed).decode()} for digest, packed in features.items()]
    return msgspec.json.encode({"contents": rows})

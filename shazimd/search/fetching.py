"""Local features of other hosts' pictures that this host does not keep: a search asks for them, and a link brings them.

The daemon has no network, so the link asks for what is wanted and answers. A search waits for a bounded time. Once one
has waited in vain, the next do not wait until the link asks again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from shazimd.store.base import Store
from shazimd.types import ContentId, Digest

Fetch = Callable[[Sequence[ContentId]], Mapping[ContentId, bytes]]
"""The local features of those of these contents that are other hosts' alone, as far as they can be had."""

WAIT_S = 2.0
"""Longest wait of one search: a database at hand answers within some ms."""
HELD_MAX = 1000
"""Pictures whose features are held in memory, some 9 MB."""


class WantedFeatures:
    """Between the searches and the link. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted: dict[Digest, int] = {}
        """with the number of searches that wait"""
        self._held: OrderedDict[Digest, bytes] = OrderedDict()
        """the latest used last; empty bytes where the database has none"""
        self._is_late = True
        """the link has not asked yet, or let a search wait in vain and was not heard of since"""
        self._ended = False

    def get(self, digests: Iterable[Digest], timeout_s: float) -> dict[Digest, bytes]:
        """The features that are held or come in time; empty bytes where the database has none."""
        asked = frozenset(digests)
        with self._changed:
            missing = asked - self._held.keys()
            for digest in missing:
                self._wanted[digest] = self._wanted.get(digest, 0) + 1
            self._changed.notify_all()
            came = self._changed.wait_for(
                lambda: self._ended or asked <= self._held.keys(), 0 if self._is_late else timeout_s
            )
            self._is_late = self._is_late or not came
            for digest in missing:
                self._wanted[digest] -= 1
                if not self._wanted[digest]:
                    del self._wanted[digest]
            return self._taken(asked)

    def wanted(self, limit: int, timeout_s: float = 0) -> list[Digest]:
        """Contents whose features searches wait for; waits for some. Called by a link again and again, which is thus
        there."""
        with self._changed:
            self._is_late = False
            self._changed.wait_for(lambda: self._open() or self._ended, timeout_s)
            return self._open()[:limit]

    def end_waits(self) -> None:
        """Let no link and no search wait any more."""
        with self._changed:
            self._ended = self._is_late = True
            self._changed.notify_all()

    def put(self, features: Mapping[Digest, bytes]) -> None:
        """Hold features, and wake the searches that wait for them."""
        with self._changed:
            for digest, packed in features.items():
                self._held[digest] = packed
                self._held.move_to_end(digest)
            while len(self._held) > HELD_MAX:
                self._held.popitem(last=False)
            self._changed.notify_all()

    def _open(self) -> list[Digest]:
        return [digest for digest in self._wanted if digest not in self._held]

    def _taken(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        found = {digest: self._held[digest] for digest in digests if digest in self._held}
        for digest, packed in found.items():
            if packed:
                self._held.move_to_end(digest)
            else:
                del self._held[digest]  # the database may have them the next time
        return found


class Fetching:
    """A ``Fetch`` of one search; counts what did not come."""

    def __init__(self, store: Store, wanted: WantedFeatures) -> None:
        self._store = store
        self._wanted = wanted
        self._end = time.monotonic() + WAIT_S
        self.missed = 0
        """pictures that could not be verified"""

    def __call__(self, contents: Sequence[ContentId]) -> dict[ContentId, bytes]:
        digests: dict[Digest, ContentId] = {}
        with self._store.read() as reader:
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    if not reader.count_files(content, 1):  # features of pictures here are made anew from them
                        digests[reader.digest(content)] = content
        found = self._wanted.get(digests, max(0.0, self._end - time.monotonic()))
        self.missed += len(digests) - len(found)
        return {digests[digest]: features for digest, features in found.items()}

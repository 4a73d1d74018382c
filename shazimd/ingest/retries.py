"""Files whose workers were lost by no fault of theirs: how often, and when they are tried again."""

from __future__ import annotations

import threading

from shazimd.types import Stat

TRIES_MAX = 8
"""A picture that the kernel kills each worker for, when memory runs out, ends as failed, until the next start."""
DELAY_S = 0.5
"""Doubled with each try: some 60 s in all, longer than an upgrade of the environment takes."""


class Retries:
    """Safe from any thread. Forgotten when the daemon ends: each start tries anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[bytes, tuple[Stat, int]] = {}

    def note(self, path: bytes, stat: Stat) -> bool:
        """Note that a worker was lost with this version of a file; False if it is not to be tried again."""
        with self._lock:
            known, tries = self._tries.get(path, (stat, 0))
            tries = tries + 1 if known == stat else 1
            self._tries[path] = stat, tries
            return tries < TRIES_MAX

    def is_given_up(self, path: bytes, stat: Stat) -> bool:
        """Whether this version of a file is not to be tried again in this run."""
        with self._lock:
            known, tries = self._tries.get(path, (stat, 0))
            return known == stat and tries >= TRIES_MAX

    def delay_s(self, path: bytes) -> float:
        """The delay before the next try."""
        with self._lock:
            _, tries = self._tries.get(path, (None, 1))
            return DELAY_S * 2.0 ** (tries - 1)

    def done(self, path: bytes) -> None:
        """Forget a file: it was stored, failed by its own fault, or is gone."""
        with self._lock:
            self._tries.pop(path, None)

    def clear(self) -> None:
        """Forget all: files given up are tried again when a scan finds them."""
        with self._lock:
            self._tries.clear()

"""Absent is not deleted: what keeps the rows of files that are not found.

    not mounted      a mount point that rows once came from, at or above the file, is no mount point now
    empty            the root has not one entry, though files of it are known
    more than half   a pass misses more than half of a root's 100 or more known files

Mount points are remembered, not device numbers: those change with each boot, and with each USB port. The first two
hold until the disk is back, the third until it was seen for a day; an explicit rescan settles each. Only removing is
held back: what is found is always taken in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from typing import Any

from shazimd.posix.mounts import Mounts, is_at_or_below
from shazimd.store.base import Reader, Store, Writer

GUARDED_FILES_MIN = 100
GUARDED_SHARE = 0.5
CONFIRMED_AFTER_S = 24 * 3600.0
"""A day: whoever reads the warning can still bring the disk back."""


class DeletionGuard:
    """What is remembered of one root, and judged by it. Kept in the store under one key."""

    def __init__(self, store: Store, root: bytes, mounts: Mounts) -> None:
        self._store = store
        self._root = root
        self._mounts = mounts
        self._key = f"reconcile:{hashlib.blake2b(root, digest_size=16).hexdigest()}"
        with store.read() as reader:
            kept = _load(reader, self._key)
        self.cursor = bytes.fromhex(kept["cursor"]) or None
        self.known = int(kept["known"])
        """files known below the root when it was last compared as a whole"""
        self._held_since: float | None = kept["held_since"]
        self._points = {bytes.fromhex(point) for point in kept["mounts"]}

    def remember_mount(self, directory: bytes) -> None:
        """A directory is about to give rows: if it is a mount point (or the root lies on one), they depend on it."""
        point = self._point_of(directory)
        if point is not None and point not in self._points:
            self._points.add(point)
            self.save()

    def unmounted(self) -> set[bytes]:
        """Mount points that rows depend on and that are not mounted now."""
        return self._points.difference(self._mounts.table())

    def is_root_unmounted(self) -> bool:
        return self.hides(self._root, self.unmounted())

    def hides(self, directory: bytes, unmounted: Collection[bytes]) -> bool:
        """Whether the files of a directory lie on what is not mounted."""
        return bool(unmounted) and any(is_at_or_below(self._real(directory), point) for point in unmounted)

    def keeps(self, missing: bytes, unmounted: Collection[bytes]) -> bool:
        """Whether a directory that is not there lies on, or held, what is not mounted. udisks removes a mount point
        with the mount."""
        if not unmounted:
            return False
        real = self._real(missing)
        return any(is_at_or_below(real, point) or is_at_or_below(point, real) for point in unmounted)

    def holds(self, missing: int, known: int, now: float) -> bool:
        """Whether a pass that missed so many of so many known files must not remove them yet."""
        known = max(known, self.known)
        if known < GUARDED_FILES_MIN or missing <= known * GUARDED_SHARE:
            return False
        if self._held_since is None:
            self._held_since = now
            self.save()
        return now - self._held_since < CONFIRMED_AFTER_S

    def settle(self, known: int) -> None:
        """A whole pass ended, and nothing is held back."""
        before = (self.known, self.cursor, self._held_since)
        self.known, self.cursor, self._held_since = known, None, None
        if before != (known, None, None):
            self.save()

    def confirm(self, path: bytes) -> None:
        """A person says that ``path`` is as it should be: what is not mounted there is not waited for."""
        self._points.difference_update(point for point in self.unmounted() if self.keeps(path, {point}))
        self._held_since = None
        self.save()

    def save(self) -> None:
        value = {
            "cursor": (self.cursor or b"").hex(),
            "known": self.known,
            "held_since": self._held_since,
            "mounts": sorted(point.hex() for point in self._points),
        }

        def work(writer: Writer) -> None:
            writer.set(self._key, value)

        self._store.write(work)

    def _point_of(self, directory: bytes) -> bytes | None:
        real = self._real(directory)
        point = self._mounts.of(real).point if directory == self._root else real
        return point if point != b"/" and point in self._mounts.table() else None

    def _real(self, path: bytes) -> bytes:
        return os.path.realpath(self._root) + path[len(self._root) :]


def _load(reader: Reader, key: str) -> dict[str, Any]:
    return {"cursor": "", "known": 0, "held_since": None, "mounts": [], **(reader.get(key) or {})}

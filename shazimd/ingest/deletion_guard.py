"""The deletion guard: missing files may be on an absent disk: their rows are not always removed.

    not mounted      a mount point of known files is not mounted now
    empty            the root has no entries, but known files
    another          another directory or file system lies at the root, or at a mount point of known files
    more than half   a scan misses more than half of a root's 100 or more known files

Mount points are remembered, and the identities of file systems, not device numbers: those change at each boot, and with
the USB port. The first two reasons hold until the disk is back, the others for a day that the daemon has seen pass: a
clock that is set does not end it. An explicit rescan overrides all. The guard only delays removals: found files are
always ingested.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

from shazimd.ingest.values import GuardState
from shazimd.posix import identity
from shazimd.posix.mounts import Mounts, is_at_or_below

GUARDED_FILES_MIN = 100
GUARDED_SHARE = 0.5
CONFIRMED_AFTER_S = 24 * 3600.0
"""A day: enough time to read the warning and to mount the disk again."""

ANOTHER = "another directory or file system is there than before"
MANY = "more than half of its files are missing at once"


class DeletionGuard:
    """Decides for a root whether rows of missing files may be removed. Its ``state`` is for the caller to store."""

    def __init__(self, root: bytes, mounts: Mounts, state: GuardState) -> None:
        self.state = state
        self._root = root
        self._mounts = mounts

    def remember_mount(self, directory: bytes) -> None:
        """Note the mount point of a directory's files: the directory itself, or the mount point of the root."""
        point = self._point_of(directory)
        if point is not None and point not in self.state.mounts:
            self.state = replace(self.state, mounts=self.state.mounts | {point})
        for path in (self._real(self._root), point):
            if path is not None and path not in self.state.identities:
                self.state = replace(self.state, identities={**self.state.identities, path: self._identity(path)})

    def remember_cursor(self, directory: bytes) -> None:
        """Note how far a full scan has come."""
        self.state = replace(self.state, cursor=directory)

    def unmounted(self) -> frozenset[bytes]:
        """Mount points of known files, not mounted now."""
        return self.state.mounts.difference(self._mounts.table())

    def is_root_unmounted(self) -> bool:
        return self.hides(self._root, self.unmounted())

    def hides(self, directory: bytes, unmounted: Collection[bytes]) -> bool:
        """Whether the files of a directory lie on an unmounted disk."""
        return bool(unmounted) and any(is_at_or_below(self._real(directory), point) for point in unmounted)

    def keeps(self, missing: bytes, unmounted: Collection[bytes]) -> bool:
        """Whether a missing directory lies on an unmounted disk, or contains its mount point: udisks removes the mount
        point with the mount."""
        if not unmounted:
            return False
        real = self._real(missing)
        return any(is_at_or_below(real, point) or is_at_or_below(point, real) for point in unmounted)

    def holds(self, missing: int, known: int, now: int) -> str:
        """The reason why the files that a scan misses are not removed now; empty if they are. ``now``: seconds that the
        daemon has seen pass."""
        known = max(known, self.state.known)
        is_many = known >= GUARDED_FILES_MIN and missing > known * GUARDED_SHARE
        reason = ANOTHER if self._is_another() else MANY if is_many else ""
        if not reason:
            return ""
        since = now if self.state.held_at is None else self.state.held_at
        self.state = replace(self.state, held_at=since)
        return reason if now - since < CONFIRMED_AFTER_S else ""

    def complete(self, known: int) -> None:
        """Note the end of a full scan without held removals."""
        places = {self._real(self._root), *self.state.mounts}
        identities = {path: marks for path, marks in self._present().items() if path in places}
        self.state = GuardState(known=known, mounts=self.state.mounts, identities=identities)

    def confirm(self, path: bytes) -> None:
        """Override the guard at ``path``, as a user asked: unmounted disks there are expected no more, and others than
        before are accepted."""
        given_up = {point for point in self.unmounted() if self.keeps(path, {point})}
        accepted = {at: marks for at, marks in self._present().items() if is_at_or_below(at, self._real(path))}
        self.state = replace(
            self.state,
            mounts=self.state.mounts - given_up,
            identities={**self.state.identities, **accepted},
            held_at=None,
        )

    def _is_another(self) -> bool:
        before = self.state.identities
        return any(marks and before[path] and marks != before[path] for path, marks in self._present().items())

    def _present(self) -> dict[bytes, str]:
        """The identities of today, and the remembered ones of paths at which nothing is mounted or known now."""
        unmounted = self.unmounted()
        before = self.state.identities.items()
        return {path: marks if path in unmounted else self._identity(path) or marks for path, marks in before}

    def _identity(self, path: bytes) -> str:
        """Of a file system that others may serve nothing is asked: a dead one does not answer."""
        mount = self._mounts.of(path)
        return "" if mount.is_network else identity.of_directory(path, mount.fstype)

    def _point_of(self, directory: bytes) -> bytes | None:
        real = self._real(directory)
        point = self._mounts.of(real).point if directory == self._root else real
        return point if point != b"/" and point in self._mounts.table() else None

    def _real(self, path: bytes) -> bytes:
        return os.path.realpath(self._root) + path[len(self._root) :]

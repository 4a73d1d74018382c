"""The deletion guard: missing files may be on an absent disk: their rows are not always removed.

    not mounted      a mount point of known files is not mounted now
    empty            the root has no entries, but known files
    another          another directory or file system lies at the root, or at a mount point of known files
    more than half   a scan misses more than half of a root's 100 or more known files

Mount points are remembered, with the followed symlinks to them, and the identities of file systems, not device numbers:
those change at each boot, and with the USB port. The first two reasons hold until the disk is back, the others for a
day that the daemon has seen pass: a clock that is set does not end it. An explicit rescan overrides all. The guard only
delays removals: found files are always ingested.
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
        self._links = dict(state.links)
        """followed symlinks, and their paths without symlinks; ``state`` has those to other disks than the root's"""

    def remember_mount(self, directory: bytes) -> None:
        """Note the mount point of a directory's files: the directory itself, or the mount point of the root or of a
        followed symlink."""
        self._note_link(directory)
        point = self._point_of(directory)
        if point is not None and point not in self.state.mounts:
            self.state = replace(self.state, mounts=self.state.mounts | {point})
        for path in (self._real(self._root), point):
            if path is not None and path not in self.state.identities:
                self.state = replace(self.state, identities={**self.state.identities, path: self._identity(path)})
        link = self._link_on(directory)
        if link is not None and point not in (None, self._mounts.of(self._real(self._root)).point):
            self.state = replace(self.state, links={**self.state.links, link: self._links[link]})

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
        if not unmounted:
            return False
        places = self._places(directory)
        return any(is_at_or_below(place, point) for place in places for point in unmounted)

    def keeps(self, missing: bytes, unmounted: Collection[bytes]) -> bool:
        """Whether a missing directory lies on an unmounted disk, or contains its mount point or a followed symlink to
        the disk: udisks removes the mount point with the mount."""
        if not unmounted:
            return False
        places = self._places(missing) + self._linked_below(missing)
        return any(_is_one_in_other(place, point) for place in places for point in unmounted)

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
        unmounted = self.unmounted()
        links = {
            link: at for link, at in self.state.links.items() if os.path.islink(link) or self.hides(link, unmounted)
        }
        self.state = GuardState(known=known, mounts=self.state.mounts, identities=identities, links=links)

    def confirm(self, path: bytes) -> None:
        """Override the guard at ``path``, as a user asked: unmounted disks there are expected no more, and others than
        before are accepted."""
        given_up = {point for point in self.unmounted() if self.keeps(path, {point})}
        real, linked = self._real(path), self._linked_below(path)
        accepted = {
            at: marks
            for at, marks in self._present().items()
            if is_at_or_below(at, real) or any(_is_one_in_other(at, place) for place in linked)
        }
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
        point = self._mounts.of(real).point if directory == self._root or directory in self._links else real
        return point if point != b"/" and point in self._mounts.table() else None

    def _note_link(self, directory: bytes) -> None:
        """Note the target of a symlink, but keep the former one while a disk there is not mounted."""
        if directory == self._root or not os.path.islink(directory):
            self._links.pop(directory, None)
        else:
            real = os.path.realpath(directory)
            if not any(is_at_or_below(real, point) for point in self.unmounted()):
                self._links[directory] = real
        if directory in self.state.links:
            links = {link: self._links[link] for link in self.state.links if link in self._links}
            self.state = replace(self.state, links=links)

    def _link_on(self, path: bytes) -> bytes | None:
        """The last followed symlink on the way to a path."""
        while self._links and len(path) > len(self._root):
            if path in self._links:
                return path
            path = os.path.dirname(path)
        return None

    def _linked_below(self, path: bytes) -> list[bytes]:
        """The paths without symlinks of links to other disks, at or below a path."""
        return [place for link, place in self.state.links.items() if is_at_or_below(link, path)]

    def _real(self, path: bytes) -> bytes:
        return self._places(path)[0]

    def _places(self, path: bytes) -> list[bytes]:
        """The path without symlinks, then its paths by each followed symlink and root on the way: a disk may be missing
        on any."""
        places, at = [], path
        while (link := self._link_on(at)) is not None:
            places.append(self._links[link].rstrip(b"/") + path[len(link) :] or b"/")
            at = os.path.dirname(link)
        return [*places, os.path.realpath(self._root) + path[len(self._root) :]]


def _is_one_in_other(path: bytes, other: bytes) -> bool:
    return is_at_or_below(path, other) or is_at_or_below(other, path)

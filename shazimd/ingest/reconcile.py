"""Reconcile: compare the store with the disk, directory by directory.

    request(path)                queue a scan of a directory
    step() -> Findings           compare a directory: scandir, the store's listing, the difference

New and changed files are returned by their step. Missing files wait for the end of their scan: until then they may be
found elsewhere (same size, mtime and inode: a move, which needs no read), and their number tells a deletion from an
absent disk (``deletion_guard``). Then a transaction per directory removes those that a second scandir misses as well. A
file that is missing only there was renamed just now: its event moves the row.

A file with known size, mtime and inode is not opened. A change in the last second may be incomplete: the file goes
through the debouncer.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping

import structlog

from shazimd.errors import NotFound, StoreError
from shazimd.ingest.commit import Committer
from shazimd.ingest.deletion_guard import DeletionGuard
from shazimd.ingest.moves import FoundMove, apply_found, moves_from, moves_to
from shazimd.ingest.patience import Stalled
from shazimd.ingest.removals import Removals
from shazimd.ingest.root_scans import RootScans
from shazimd.ingest.scan import Depth, Findings, Scan
from shazimd.ingest.values import guard_state
from shazimd.posix.mounts import Mounts
from shazimd.protocol.status import ScanStatus
from shazimd.store.base import Reader, Store
from shazimd.text import readable
from shazimd.types import Listing, Stat
from shazimd.watch.filters import Filter
from shazimd.watch.listing import Entries

log = structlog.get_logger()

UNSETTLED_S = 1.0
"""Age of a change below which a file may still be written; by ctime, which programs cannot set."""
PATIENCE_S = 10.0
"""Longest delay of removals for events and found files, which may explain them: rows of a busy folder must not stay."""
CURSOR_DIRECTORIES = 1000
"""The cursor of a full scan is stored (a durable write) after this number of directories: a daemon with frequent
restarts still completes its scan."""


class Reconciler:
    """For one thread; ``progress`` from any. After a StoreError a later step repeats the work."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        rules: Mapping[bytes, Filter],
        *,
        clock: Callable[[], float] = time.time,
        mounts: Mounts | None = None,
        may_stall: Callable[[bytes], bool] = lambda _: False,
        ignores: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        """``rules``: each root's filter, by the root's path. ``clock``: Unix time, like ctime. ``may_stall``: whether
        the file system of a path may hang, as network mounts do; other roots are compared meanwhile. ``ignores`` tells
        the paths that a person has taken out: to a scan they are not on the disk."""
        self._store = store
        self._committer = committer
        self._clock = clock
        self._removals = Removals(store, committer)
        self._mounts = mounts = mounts or Mounts()
        with store.read() as reader:
            guards = {path: DeletionGuard(path, mounts, guard_state(reader, path)) for path in rules}
        self._roots = {path: RootScans(path, each, guards[path], ignores, may_stall) for path, each in rules.items()}
        self._order = deque(self._roots.values())
        self._unreadable: set[bytes] = set()

    def request(
        self, path: bytes, recursive: bool = True, *, confirmed: bool = False, depth: Depth = Depth.NONE
    ) -> None:
        """Queue a scan of a directory, with its subdirectories or alone; the directory may be missing.

        ``confirmed``: a user's request removes missing files without the deletion guard, but none of an unmounted disk
        that has others besides. Raises NotFound for a path outside the roots."""
        root = self._root_of(path)
        if root is None:
            raise NotFound(f"{readable(path)}: expected a path at or below a watched directory")
        confirmed = confirmed and not self._is_in_unmounted(root, path)
        if confirmed:
            root.guard.confirm(path)
            root.save_guard(self._committer)
        root.request(Scan(root.path, path, recursive, confirmed, depth))

    def step(self, *, is_behind: bool = False) -> Findings | None:
        """Compare a directory, of each root in turn; None if no scan is queued.

        ``is_behind``: events or found files are not ingested yet and may explain missing files: removals wait."""
        for _ in range(len(self._order)):
            root = self._order[0]
            self._order.rotate(-1)
            scan = None if root.is_stalled else root.next()
            if scan is not None:
                return self._advance(root, scan)
        # A missing file may have moved to any root: all that answer are compared before a row is removed.
        closing = next((root for root in self._order if root.closing and not root.is_stalled), None)
        if closing is None:
            stalled = next((root for root in self._order if root.scans()), None)
            return Findings(stalled.path, waiting=True) if stalled else None
        scan = closing.closing[0]
        if scan.gaps and is_behind and self._clock() < scan.compared_at + PATIENCE_S:
            return Findings(scan.top, waiting=True)
        return self._removals.step(closing, scan)

    def close(self) -> None:
        """Close the mount table; to be called after the last step."""
        self._mounts.close()

    def progress(self) -> dict[bytes, ScanStatus]:
        """The progress of each root's scans, as ``GET /v1/status`` reports it."""
        return {root.path: root.progress() for root in self._roots.values()}

    def confirmed(self) -> set[bytes]:
        """The directories of users' unfinished scans."""
        return {scan.top for root in self._roots.values() for scan in root.scans() if scan.confirmed}

    def _root_of(self, path: bytes) -> RootScans | None:
        while path not in self._roots and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return self._roots.get(path)

    def _is_in_unmounted(self, root: RootScans, path: bytes) -> bool:
        """Whether a path lies below the mount point of an unmounted disk in the root: the whole disk is not meant."""
        return path != root.path and root.guard.hides(os.path.dirname(path), root.guard.unmounted())

    def _advance(self, root: RootScans, scan: Scan) -> Findings:
        directory = scan.pop()
        if directory is None:
            root.end(scan, self._clock())
            return Findings(scan.top) if scan.gaps else self._removals.step(root, scan)
        try:
            findings = self._compare(root, scan, directory)
        except StoreError:
            scan.push(directory, is_known=True)
            raise
        except Stalled as stalled:
            scan.push(directory, is_known=True)
            root.unavailable(str(stalled))
            return Findings(directory)
        scan.done += 1
        self._keep_cursor(root, scan, directory)
        return findings

    def _keep_cursor(self, root: RootScans, scan: Scan, directory: bytes) -> None:
        if scan is root.whole and scan.done % CURSOR_DIRECTORIES == 0:
            root.guard.remember_cursor(directory)
            root.save_guard(self._committer)

    def _compare(self, root: RootScans, scan: Scan, directory: bytes) -> Findings:
        disk = self._entries(root, scan, directory)
        if disk is None:
            return Findings(directory)
        root.guard.remember_mount(directory)
        root.save_guard(self._committer)  # before any row depends on the mount
        with self._store.read() as reader:
            known = reader.listing(directory)
            scan.known += len(known.files)
            scan.passed_over += disk.passed_over
            missed = self._note_missing(root, scan, directory, disk, known, reader)
        if scan.recursive:
            for name in disk.directories:
                scan.push(os.path.join(directory, name), is_known=name in known.directories)
        changed = _changed(disk, known)
        scans = [each for root in self._order for each in root.begun()]
        arrived = self._move(moves_to(scans, directory, changed) + moves_from(scans, scan, missed))
        if known.files or known.directories:  # new directories come last, after all missing files are noted
            for name, found in changed.items():
                if (path := os.path.join(directory, name)) not in arrived:
                    scan.find(Stat.of(found).without_ctime, path)
        again = _again(disk, known, scan.depth) - changed.keys()
        return self._findings(scan, directory, changed, arrived, again)

    def _entries(self, root: RootScans, scan: Scan, directory: bytes) -> Entries | None:
        """The entries on the disk; None if the directory cannot be read: its rows stay."""
        try:
            found = root.listed(directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            if directory == root.path:
                root.abandon(scan, error.strerror or str(error))
            elif scan.confirmed and directory == scan.top:
                self._miss_top(root, scan)
            else:
                self.request(os.path.dirname(directory), recursive=False, confirmed=scan.confirmed)
            return None
        except OSError as error:
            if directory not in self._unreadable:
                log.warning("directory_not_compared", path=directory, reason=error.strerror)
            self._unreadable.add(directory)
            if directory == root.path:
                root.abandon(scan, error.strerror or str(error))
            return None
        self._unreadable.discard(directory)
        return found

    def _miss_top(self, root: RootScans, scan: Scan) -> None:
        """Note that the directory of a user's request is missing: no other of its parent's directories was meant."""
        parent, name = os.path.split(scan.top)
        with self._store.read() as reader:
            known = reader.listing(parent).directories & {name}
            missed = self._note_missing(root, scan, parent, Entries({}, []), Listing(directories=known), reader)
        self._move(moves_from([each for root in self._order for each in root.begun()], scan, missed))

    def _note_missing(
        self, root: RootScans, scan: Scan, directory: bytes, disk: Entries, known: Listing, reader: Reader
    ) -> list[tuple[Stat, bytes]]:
        """The missing known files, as (stat, path)."""
        missed: list[tuple[Stat, bytes]] = []
        files = known.files.keys() - disk.files.keys()
        directories = known.directories.difference(disk.directories)
        if not files and not directories:
            return missed
        unmounted = root.guard.unmounted()
        gap: set[bytes] = set()
        if files and not root.guard.hides(directory, unmounted):
            gap |= files
            missed += ((known.files[name].stat.without_ctime, os.path.join(directory, name)) for name in files)
        for name in directories:
            path = os.path.join(directory, name)
            if not root.guard.keeps(path, unmounted):
                gap.add(name)
                below = [(row.stat.without_ctime, lost) for lost, row in reader.walk(path)]
                scan.known += len(below)
                missed += below
        for stat, path in missed:
            scan.miss(stat, path)
        if gap:
            scan.gaps[directory] = gap
        return missed

    def _move(self, moves: list[FoundMove]) -> dict[bytes, Stat]:
        """Move unchanged rows; the stat in each row by its new path."""
        return self._committer.submit(lambda writer: apply_found(writer, moves)).result() if moves else {}

    def _findings(
        self,
        scan: Scan,
        directory: bytes,
        changed: dict[bytes, os.stat_result],
        arrived: dict[bytes, Stat],
        again: Collection[bytes],
    ) -> Findings:
        """A moved file is read once more where its ctime changed: another file may have its size, mtime and inode."""
        look = [os.path.join(directory, name) for name in again]
        unsettled: list[bytes] = []
        settled = self._clock() - UNSETTLED_S
        for name, found in changed.items():
            path = os.path.join(directory, name)
            if path not in arrived or not Stat.of(found).is_unchanged_since(arrived[path]):
                (look if found.st_ctime < settled else unsettled).append(path)
        return Findings(directory, tuple(look), scan.depth, tuple(unsettled), moved=len(arrived))


def _changed(disk: Entries, known: Listing) -> dict[bytes, os.stat_result]:
    """New or changed files; those whose stat fails stay as they are."""
    changed = {}
    files = known.files
    for name, found in disk.files.items():
        row = files.get(name)
        if found is not None and (row is None or not Stat.of(found).is_unchanged_since(row.stat)):
            changed[name] = found
    return changed


def _again(disk: Entries, known: Listing, depth: Depth) -> set[bytes]:
    """Known files on the disk that a scan of this depth has read again."""
    if depth is Depth.NONE:
        return set()
    return {name for name, row in known.files.items() if disk.files.get(name) is not None and depth.includes(row)}

"""Reconcile: compare the store with the disk, a directory at a time, and say what is to be looked at.

    request(path)                a subtree is to be compared
    step() -> Findings           one directory: scandir, the store's listing, the difference

New and changed files come out in the step that finds them. A file that is missing waits until its pass has ended: then
it may have turned up elsewhere (same size, mtime and inode: a move, nothing is read), and how much is missing tells a
deletion from a disk that is not there (``absence``). Then one transaction per directory removes it, after a last look.

A file whose size, mtime and inode are known is not opened. One that changed within the last second may still be
written: it goes through the debouncer.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from shazimd.errors import NotFound, StoreError
from shazimd.ingest.deletion_guard import DeletionGuard
from shazimd.ingest.moves import apply_move
from shazimd.ingest.scan import Scan
from shazimd.posix.mounts import Mounts
from shazimd.store.base import Reader, Store, Writer
from shazimd.types import Listing, Stat
from shazimd.watch.filters import Filter
from shazimd.watch.listing import Entries, entries

log = structlog.get_logger()

UNSETTLED_S = 1.0
"""Changed less than this long ago (ctime, which nobody can set back): somebody may still be writing."""
PATIENCE_S = 10.0
"""How long what is missing waits for what may explain it: a folder that is never quiet must not keep ghosts."""
WAITING_MAX = 10_000
"""Requests that wait at most; more become one for the whole root."""
CURSOR_DIRECTORIES = 1000
"""The place of a whole pass is kept after so many, with a durable write: restarted more often, it still gets round."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one step found and did."""

    directory: bytes
    look: tuple[bytes, ...] = ()
    """new or changed files"""
    unsettled: tuple[bytes, ...] = ()
    """the same, but changed just now: for the debouncer"""
    moved: int = 0
    """files that the store knows at their new place now"""
    removed: int = 0
    """files that the store has forgotten"""
    waiting: bool = False
    """something is missing, and what explains it may still come: a rename not heard of, a file that turned up"""
    completed: bytes | None = None
    """the root whose whole pass ended with this step"""


class _Move(NamedTuple):
    """A file that is at another place than the store knows."""

    stat: Stat
    old: bytes
    new: bytes


class _Root:
    """The work on one root: requests first, the pass over the whole between them."""

    def __init__(self, path: bytes, rules: Filter, guard: DeletionGuard) -> None:
        self.path = path
        self.rules = rules
        self.guard = guard
        self.waiting: dict[bytes, Scan] = {}
        self.running: Scan | None = None
        self.whole: Scan | None = None
        self.whole_again: Scan | None = None
        self.closing: deque[Scan] = deque()
        """passes that have compared all their directories, and miss something"""
        self.trouble = ""
        """unavailable or held, as the last decision on missing files was"""

    def next(self) -> Scan | None:
        """The pass to go on with."""
        if self.running is None and self.waiting:
            self.running = self.waiting.pop(next(iter(self.waiting)))
        if self.whole is None:
            self.whole, self.whole_again = self.whole_again, None
        return self.running or self.whole

    def end(self, scan: Scan) -> None:
        """A pass has compared all its directories."""
        if scan is self.running:
            self.running = None
        else:
            self.whole = None

    def scans(self) -> list[Scan]:
        begun = [scan for scan in (self.running, self.whole, self.whole_again) if scan]
        return [*begun, *self.closing, *self.waiting.values()]


class Reconciler:
    """For one thread; ``progress`` from any. Raises what the store raises, and then has lost nothing."""

    def __init__(
        self,
        store: Store,
        rules: Mapping[bytes, Filter],
        *,
        clock: Callable[[], float] = time.time,
        mounts: Mounts | None = None,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """``rules``: each root's filter, by the root's path. ``clock``: seconds since 1970, as ctime has them.
        ``is_behind``: whether hints are to be heard or heeded, or found files taken in; nothing is removed then."""
        self._store = store
        self._clock = clock
        self._is_behind = is_behind
        mounts = mounts or Mounts()
        self._roots = {path: _Root(path, each, DeletionGuard(store, path, mounts)) for path, each in rules.items()}
        self._order = deque(self._roots.values())
        self._unreadable: set[bytes] = set()

    def request(self, path: bytes, recursive: bool = True, *, confirmed: bool = False) -> None:
        """Have a directory compared, with all below it or alone; one that is gone already is fine.

        ``confirmed``: a person asked, so what is missing is removed, however much it is. Raises NotFound when the
        path lies in no root."""
        root = self._root_of(path)
        if root is None:
            raise NotFound(f"{os.fsdecode(path)}: expected a path at or below a watched directory")
        if confirmed:
            root.guard.confirm(path)
        if len(root.waiting) >= WAITING_MAX:
            root.waiting.clear()
            path, recursive = root.path, True
        if path == root.path and recursive:
            self._request_whole(root, confirmed)
        elif not _covered(root.waiting, path, recursive, confirmed):
            root.waiting.pop(path, None)
            root.waiting[path] = Scan(root.path, path, recursive, confirmed)

    def step(self) -> Findings | None:
        """Handle one directory of the root whose turn it is; None when there is nothing to do."""
        for _ in range(len(self._order)):
            root = self._order[0]
            self._order.rotate(-1)
            scan = root.next()
            if scan is not None:
                return self._advance(root, scan)
        # What is missing in one place may have turned up in any other: all are compared before anything is removed.
        closing = next((root for root in self._order if root.closing), None)
        return self._close_gaps(closing, closing.closing[0]) if closing else None

    def progress(self) -> dict[bytes, dict[str, Any]]:
        """For each root: state (idle, scanning, unavailable, held), directories_done and directories_pending of the
        passes under way, known_files (as of the last whole pass)."""
        return {root.path: _progress(root) for root in self._roots.values()}

    def _request_whole(self, root: _Root, confirmed: bool) -> None:
        if root.whole_again is None:
            cursor = root.guard.cursor if root.whole is None else None
            root.whole_again = Scan(root.path, root.path, cursor=cursor)
        root.whole_again.confirmed |= confirmed

    def _root_of(self, path: bytes) -> _Root | None:
        while path not in self._roots and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return self._roots.get(path)

    def _advance(self, root: _Root, scan: Scan) -> Findings:
        directory = scan.pop()
        if directory is None:
            root.end(scan)
            scan.compared_at = self._clock()
            root.closing.append(scan)
            return Findings(scan.top) if scan.gaps else self._close_gaps(root, scan)
        try:
            findings = self._compare(root, scan, directory)
        except StoreError:
            scan.push(directory, is_known=True)
            raise
        scan.done += 1
        self._keep_cursor(root, scan, directory)
        return findings

    def _keep_cursor(self, root: _Root, scan: Scan, directory: bytes) -> None:
        if scan is root.whole and scan.done % CURSOR_DIRECTORIES == 0:
            root.guard.cursor = directory
            root.guard.save()

    # one directory

    def _compare(self, root: _Root, scan: Scan, directory: bytes) -> Findings:
        disk = self._entries(root, scan, directory)
        if disk is None:
            return Findings(directory)
        root.guard.remember_mount(directory)
        with self._store.read() as reader:
            known = reader.listing(directory)
            scan.known += len(known.files)
            missed = self._note_missing(root, scan, directory, disk, known, reader)
        if scan.recursive:
            for name in disk.directories:
                scan.push(os.path.join(directory, name), is_known=name in known.directories)
        changed = _changed(disk, known)
        arrived = self._move(self._moves_to(directory, changed) + self._moves_from(scan, missed))
        if known.files or known.directories:  # what is below new directories is found after all else was missed
            for name, found in changed.items():
                if (path := os.path.join(directory, name)) not in arrived:
                    scan.find(stat_of(found), path)
        return self._findings(directory, changed, arrived)

    def _entries(self, root: _Root, scan: Scan, directory: bytes) -> Entries | None:
        """What the disk has; None when it can't be read, and then its rows stay."""
        try:
            found = entries(directory, root.rules)
        except (FileNotFoundError, NotADirectoryError) as error:
            if directory == root.path:
                self._abandon(root, scan, error.strerror or str(error))
            else:
                self.request(os.path.dirname(directory), recursive=False, confirmed=scan.confirmed)
            return None
        except OSError as error:
            if directory not in self._unreadable:
                log.warning("directory_not_compared", path=directory, reason=error.strerror)
            self._unreadable.add(directory)
            if directory == root.path:
                self._abandon(root, scan, error.strerror or str(error))
            return None
        self._unreadable.discard(directory)
        return found

    def _note_missing(
        self, root: _Root, scan: Scan, directory: bytes, disk: Entries, known: Listing, reader: Reader
    ) -> list[tuple[Stat, bytes]]:
        """The known files, as (stat, path), that are not there and may be missing."""
        missed: list[tuple[Stat, bytes]] = []
        files = known.files.keys() - disk.files.keys()
        directories = known.directories.difference(disk.directories)
        if not files and not directories:
            return missed
        unmounted = root.guard.unmounted()
        if files and not root.guard.hides(directory, unmounted):
            scan.gaps.add(directory)
            missed += ((known.files[name].stat, os.path.join(directory, name)) for name in files)
        for name in directories:
            path = os.path.join(directory, name)
            if not root.guard.keeps(path, unmounted):
                scan.gaps.add(directory)
                below = [(row.stat, lost) for lost, row in reader.walk(path)]
                scan.known += len(below)
                missed += below
        for stat, path in missed:
            scan.miss(stat, path)
        return missed

    def _moves_to(self, directory: bytes, changed: dict[bytes, os.stat_result]) -> list[_Move]:
        """Known files that were missed before and turned up here. Gone from where they were: no hard links."""
        scans = [scan for scan in self._scans() if scan.gone]
        moves = []
        for name, found in changed.items() if scans else ():
            stat = stat_of(found)
            gone = (path for scan in scans for path in scan.gone.get(stat, ()) if not os.path.lexists(path))
            if (old := next(gone, None)) is not None:
                moves.append(self._explained(_Move(stat, old, os.path.join(directory, name))))
        return moves

    def _moves_from(self, scan: Scan, missed: list[tuple[Stat, bytes]]) -> list[_Move]:
        """Known files that are missed here and had turned up elsewhere before."""
        scans = [each for each in self._scans() if each.found]
        moves = []
        for stat, old in missed if scans else ():
            found = (path for each in scans for path in each.found.get(stat, ()) if _is_there(path, stat))
            if old in scan.gone.get(stat, ()) and not os.path.lexists(old) and (new := next(found, None)) is not None:
                moves.append(self._explained(_Move(stat, old, new)))
        return moves

    def _explained(self, move: _Move) -> _Move:
        """One missing file is one found file: none of several hard links is taken for two."""
        for scan in self._scans():
            scan.explain(*move)
        return move

    def _scans(self) -> list[Scan]:
        """The passes under way, of all roots."""
        return [scan for root in self._order for scan in (root.running, root.whole, *root.closing) if scan]

    def _move(self, moves: list[_Move]) -> set[bytes]:
        """Rename in the store what it still knows so; the new paths."""
        if not moves:
            return set()

        def work(writer: Writer) -> set[bytes]:
            arrived = set()
            for stat, old, new in moves:
                row = writer.file(old)
                if row is not None and row.stat == stat:
                    apply_move(writer, old, new)
                    if writer.file(new) == row:
                        arrived.add(new)
            return arrived

        return self._store.write(work)

    def _findings(self, directory: bytes, changed: dict[bytes, os.stat_result], arrived: set[bytes]) -> Findings:
        look: list[bytes] = []
        unsettled: list[bytes] = []
        settled = self._clock() - UNSETTLED_S
        for name, found in changed.items():
            path = os.path.join(directory, name)
            if path not in arrived:
                (look if found.st_ctime < settled else unsettled).append(path)
        return Findings(directory, tuple(look), tuple(unsettled), moved=len(arrived))

    # the end of a pass

    def _close_gaps(self, root: _Root, scan: Scan) -> Findings:
        """All directories are compared: remove what is missing, a directory a step, or keep it."""
        if scan.gaps and self._is_behind() and self._clock() < scan.compared_at + PATIENCE_S:
            return Findings(scan.top, waiting=True)
        if not scan.decided and not scan.abandoned:
            self._decide(root, scan)
        if scan.gaps:
            gap = scan.gaps.pop()
            try:
                return Findings(gap, removed=self._remove(root, scan, gap))
            except StoreError:
                scan.gaps.add(gap)
                raise
        root.closing.remove(scan)
        if not scan.is_full or scan.abandoned or root.trouble == "unavailable":
            return Findings(scan.top)
        if not root.trouble:
            root.guard.settle(scan.known - scan.missing)
        return Findings(scan.top, completed=root.path)

    def _decide(self, root: _Root, scan: Scan) -> None:
        """Remove what is missing, or keep it; see ``absence``."""
        scan.decided = True
        if scan.confirmed:
            root.trouble = ""
        elif reason := self._keeping(root, scan):
            self._unavailable(root, reason)
            scan.gaps.clear()
        elif scan.gaps and root.guard.holds(scan.missing, scan.known, self._clock()):
            self._hold(root, scan)
            scan.gaps.clear()
        elif scan.is_full:
            root.trouble = ""

    def _hold(self, root: _Root, scan: Scan) -> None:
        if root.trouble != "held":
            log.warning("removal_held", root=root.path, missing=scan.missing, known=scan.known, remedy=_REMEDY)
        root.trouble = "held"

    def _abandon(self, root: _Root, scan: Scan, reason: str) -> None:
        scan.abandoned = True
        scan.gaps.clear()
        self._unavailable(root, reason)

    def _keeping(self, root: _Root, scan: Scan) -> str:
        """Why a root is not there as a whole; empty when it is."""
        if root.guard.is_root_unmounted():
            return "its disk is not mounted"
        try:
            with os.scandir(root.path) as found:
                is_empty = next(found, None) is None
        except OSError as error:
            return error.strerror or str(error)
        return "it is empty, but files of it are known" if is_empty and scan.missing else ""

    def _unavailable(self, root: _Root, reason: str) -> None:
        if root.trouble != "unavailable":
            log.warning("root_unavailable", root=root.path, reason=reason, remedy=_REMEDY)
        root.trouble = "unavailable"

    def _remove(self, root: _Root, scan: Scan, gap: bytes) -> int:
        """Forget what a directory lacks, after one more look at it."""
        unmounted = root.guard.unmounted()
        try:
            disk = entries(gap, root.rules)
        except FileNotFoundError:
            if gap != root.path:
                scan.gaps.add(os.path.dirname(gap))
            return 0
        except OSError as error:
            log.warning("directory_not_compared", path=gap, reason=error.strerror)
            return 0
        unmounted |= root.guard.unmounted()  # before and after: a disk may come or go while we look

        def work(writer: Writer) -> int:
            return _forget_missing(writer, root.guard, gap, disk, unmounted)

        removed = self._store.write(work)
        if removed:
            log.info("files_gone", directory=gap, files=removed)
        return removed


_REMEDY = "nothing was forgotten; bring the disk back, or have it forgotten with: shazimctl rescan PATH"


def _forget_missing(writer: Writer, absence: DeletionGuard, gap: bytes, disk: Entries, unmounted: set[bytes]) -> int:
    known = writer.listing(gap)
    removed = 0
    if not absence.hides(gap, unmounted):
        files = known.files.keys() - disk.files.keys()
        removed += sum(writer.remove_file(os.path.join(gap, name)) for name in files)
    for name in known.directories.difference(disk.directories):
        path = os.path.join(gap, name)
        if not absence.keeps(path, unmounted):
            removed += writer.remove_tree(path)
    return removed


def _changed(disk: Entries, known: Listing) -> dict[bytes, os.stat_result]:
    """Files that are not what the store knows. Those that can't be asked stay as they are."""
    changed = {}
    files = known.files
    for name, found in disk.files.items():
        row = files.get(name)
        if found is not None and (row is None or row.stat != (found.st_size, found.st_mtime_ns, found.st_ino)):
            changed[name] = found
    return changed


def _is_there(path: bytes, stat: Stat) -> bool:
    try:
        return stat_of(os.lstat(path)) == stat
    except OSError:
        return False


def stat_of(found: os.stat_result) -> Stat:
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino)


def _covered(waiting: dict[bytes, Scan], path: bytes, recursive: bool, confirmed: bool) -> bool:
    """Whether a request that has not begun does this one's work."""
    same = waiting.get(path)
    if same is not None and (same.recursive or not recursive) and (same.confirmed or not confirmed):
        return True
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        above = waiting.get(path)
        if above is not None and above.recursive and (above.confirmed or not confirmed):
            return True
    return False


def _progress(root: _Root) -> dict[str, Any]:
    scans = root.scans()
    return {
        "state": root.trouble or ("scanning" if scans else "idle"),
        "directories_done": sum(scan.done for scan in scans),
        "directories_pending": sum(scan.pending for scan in scans),
        "known_files": root.guard.known,
    }

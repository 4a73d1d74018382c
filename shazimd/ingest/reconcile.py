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
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import structlog

from shazimd.errors import NotFound, StoreError
from shazimd.ingest.commit import Committer
from shazimd.ingest.deletion_guard import DeletionGuard
from shazimd.ingest.moves import apply_move
from shazimd.ingest.patience import RemoteCalls, Stalled
from shazimd.ingest.scan import Depth, Scan
from shazimd.ingest.values import guard_state, set_guard_state
from shazimd.posix.mounts import Mounts
from shazimd.protocol import ScanStatus
from shazimd.store.base import Reader, Store, Writer
from shazimd.types import Listing, Stat
from shazimd.watch.filters import Filter
from shazimd.watch.listing import Entries, entries

log = structlog.get_logger()

UNSETTLED_S = 1.0
"""Age of a change below which a file may still be written; by ctime, which programs cannot set."""
PATIENCE_S = 10.0
"""Longest delay of removals for events and found files, which may explain them: rows of a busy folder must not stay."""
WAITING_MAX = 10_000
"""Limit of queued requests; more of them become a scan of the root."""
CURSOR_DIRECTORIES = 1000
"""The cursor of a full scan is stored (a durable write) after this number of directories: a daemon with frequent
restarts still completes its scan."""

REMEDY = "nothing was removed; mount the disk again, or confirm the removal with: shazimctl rescan PATH"


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a step."""

    directory: bytes
    look: tuple[bytes, ...] = ()
    """new or changed files, and files to be read again"""
    depth: Depth = Depth.NONE
    """of the scan"""
    unsettled: tuple[bytes, ...] = ()
    """files changed just now, for the debouncer"""
    moved: int = 0
    """number of files whose rows were moved"""
    removed: int = 0
    """number of files whose rows were removed"""
    waiting: bool = False
    """removals wait for events or found files, which may explain them"""
    completed: bytes | None = None
    """the root whose full scan ended with this step"""


class _Move(NamedTuple):
    stat: Stat
    old: bytes
    new: bytes


class _RootScans:
    """The scans of a root: requested ones first, the full scan between them."""

    def __init__(self, path: bytes, rules: Filter, guard: DeletionGuard) -> None:
        self.path = path
        self.rules = rules
        self.guard = guard
        self.saved = guard.state
        """the guard's state in the store"""
        self.waiting: dict[bytes, Scan] = {}
        self.running: Scan | None = None
        self.whole: Scan | None = None
        self.whole_again: Scan | None = None
        self.closing: deque[Scan] = deque()
        """scans at the end of their directories, which may have gaps"""
        self.remote = RemoteCalls()
        self.trouble: Literal["", "unavailable", "held"] = ""
        """"unavailable" or "held", by the last decision on missing files"""

    def next(self) -> Scan | None:
        """The scan to continue."""
        if self.running is None and self.waiting:
            self.running = self.waiting.pop(next(iter(self.waiting)))
        if self.whole is None:
            self.whole, self.whole_again = self.whole_again, None
        return self.running or self.whole

    def end(self, scan: Scan) -> None:
        """Note the end of a scan's directories."""
        if scan is self.running:
            self.running = None
        else:
            self.whole = None

    def scans(self) -> list[Scan]:
        begun = [scan for scan in (self.running, self.whole, self.whole_again) if scan]
        return [*begun, *self.closing, *self.waiting.values()]

    def unavailable(self, reason: str) -> None:
        if self.trouble != "unavailable":
            log.warning("root_unavailable", root=self.path, reason=reason, remedy=REMEDY)
        self.trouble = "unavailable"

    def held(self, scan: Scan, reason: str) -> None:
        if self.trouble != "held":
            missing, known = scan.missing, scan.known
            log.warning("removal_held", root=self.path, reason=reason, missing=missing, known=known, remedy=REMEDY)
        self.trouble = "held"


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
        the file system of a root may hang, as network mounts do; other roots are compared meanwhile. ``ignores`` tells
        the paths that a person has taken out: to a scan they are not on the disk."""
        self._store = store
        self._committer = committer
        self._clock = clock
        self._may_stall = may_stall
        self._ignores = ignores
        self._mounts = mounts = mounts or Mounts()
        with store.read() as reader:
            guards = {path: DeletionGuard(path, mounts, guard_state(reader, path)) for path in rules}
        self._roots = {path: _RootScans(path, each, guards[path]) for path, each in rules.items()}
        self._order = deque(self._roots.values())
        self._unreadable: set[bytes] = set()

    def request(
        self, path: bytes, recursive: bool = True, *, confirmed: bool = False, depth: Depth = Depth.NONE
    ) -> None:
        """Queue a scan of a directory, with its subdirectories or alone; the directory may be missing.

        ``confirmed``: a user's request removes missing files without the deletion guard. Raises NotFound for a path
        outside the roots."""
        root = self._root_of(path)
        if root is None:
            raise NotFound(f"{os.fsdecode(path)}: expected a path at or below a watched directory")
        if confirmed:
            root.guard.confirm(path)
            self._save_guard(root)
        if len(root.waiting) >= WAITING_MAX:
            root.waiting.clear()
            path, recursive = root.path, True
        if path == root.path and recursive:
            self._request_whole(root, confirmed, depth)
        elif not _covered(root.waiting, wanted := Scan(root.path, path, recursive, confirmed, depth)):
            if (before := root.waiting.pop(path, None)) is not None:
                wanted.include(before)
            root.waiting[path] = wanted

    def step(self, *, is_behind: bool = False) -> Findings | None:
        """Compare a directory, of each root in turn; None if no scan is queued.

        ``is_behind``: events or found files are not ingested yet and may explain missing files: removals wait."""
        for _ in range(len(self._order)):
            root = self._order[0]
            self._order.rotate(-1)
            scan = None if root.remote.is_waiting else root.next()
            if scan is not None:
                return self._advance(root, scan)
        # A missing file may have moved to any root: all that answer are compared before a row is removed.
        closing = next((root for root in self._order if root.closing and not root.remote.is_waiting), None)
        if closing is None:
            stalled = next((root for root in self._order if root.scans()), None)
            return Findings(stalled.path, waiting=True) if stalled else None
        scan = closing.closing[0]
        if scan.gaps and is_behind and self._clock() < scan.compared_at + PATIENCE_S:
            return Findings(scan.top, waiting=True)
        return self._close_gaps(closing, scan)

    def close(self) -> None:
        """Close the mount table; to be called after the last step."""
        self._mounts.close()

    def progress(self) -> dict[bytes, ScanStatus]:
        """The progress of each root's scans, as ``GET /v1/status`` reports it."""
        return {root.path: _progress(root) for root in self._roots.values()}

    def _request_whole(self, root: _RootScans, confirmed: bool, depth: Depth) -> None:
        if root.whole_again is None:
            cursor = root.guard.state.cursor if root.whole is None else None
            root.whole_again = Scan(root.path, root.path, cursor=cursor)
        root.whole_again.confirmed |= confirmed
        root.whole_again.depth = max(root.whole_again.depth, depth)

    def _root_of(self, path: bytes) -> _RootScans | None:
        while path not in self._roots and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return self._roots.get(path)

    def _advance(self, root: _RootScans, scan: Scan) -> Findings:
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
        except Stalled as stalled:
            scan.push(directory, is_known=True)
            root.unavailable(str(stalled))
            return Findings(directory)
        scan.done += 1
        self._keep_cursor(root, scan, directory)
        return findings

    def _keep_cursor(self, root: _RootScans, scan: Scan, directory: bytes) -> None:
        if scan is root.whole and scan.done % CURSOR_DIRECTORIES == 0:
            root.guard.remember_cursor(directory)
            self._save_guard(root)

    def _save_guard(self, root: _RootScans) -> None:
        """Store the state of a root's guard after a change."""
        state = root.guard.state
        if state != root.saved:
            self._committer.submit(lambda writer: set_guard_state(writer, root.path, state)).result()
            root.saved = state

    # one directory

    def _compare(self, root: _RootScans, scan: Scan, directory: bytes) -> Findings:
        disk = self._entries(root, scan, directory)
        if disk is None:
            return Findings(directory)
        root.guard.remember_mount(directory)
        self._save_guard(root)  # before any row depends on the mount
        with self._store.read() as reader:
            known = reader.listing(directory)
            scan.known += len(known.files)
            missed = self._note_missing(root, scan, directory, disk, known, reader)
        if scan.recursive:
            for name in disk.directories:
                scan.push(os.path.join(directory, name), is_known=name in known.directories)
        changed = _changed(disk, known)
        arrived = self._move(self._moves_to(directory, changed) + self._moves_from(scan, missed))
        if known.files or known.directories:  # new directories come last, after all missing files are noted
            for name, found in changed.items():
                if (path := os.path.join(directory, name)) not in arrived:
                    scan.find(Stat.of(found).without_ctime, path)
        again = _again(disk, known, scan.depth) - changed.keys()
        return self._findings(scan, directory, changed, arrived, again)

    def _entries(self, root: _RootScans, scan: Scan, directory: bytes) -> Entries | None:
        """The entries on the disk; None if the directory cannot be read: its rows stay."""
        try:
            found = self._listed(root, directory)
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

    def _listed(self, root: _RootScans, directory: bytes) -> Entries:
        """Raises OSError, or Stalled if the file system does not answer."""
        look = partial(entries, directory, root.rules)
        found = root.remote.call(look) if self._may_stall(root.path) else look()
        return Entries(
            {name: stat for name, stat in found.files.items() if not self._ignores(os.path.join(directory, name))},
            [name for name in found.directories if not self._ignores(os.path.join(directory, name))],
        )

    def _note_missing(
        self, root: _RootScans, scan: Scan, directory: bytes, disk: Entries, known: Listing, reader: Reader
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

    def _moves_to(self, directory: bytes, changed: dict[bytes, os.stat_result]) -> list[_Move]:
        """Files missed before and found here. The old path must be missing: else they are hard links."""
        scans = [scan for scan in self._scans() if scan.gone]
        moves = []
        for name, found in changed.items() if scans else ():
            stat = Stat.of(found).without_ctime
            gone = (path for scan in scans for path in scan.gone.get(stat, ()) if not os.path.lexists(path))
            if (old := next(gone, None)) is not None:
                moves.append(self._explained(_Move(stat, old, os.path.join(directory, name))))
        return moves

    def _moves_from(self, scan: Scan, missed: list[tuple[Stat, bytes]]) -> list[_Move]:
        """Files missed here and found elsewhere before."""
        scans = [each for each in self._scans() if each.found]
        moves = []
        for stat, old in missed if scans else ():
            found = (path for each in scans for path in each.found.get(stat, ()) if _is_there(path, stat))
            if old in scan.gone.get(stat, ()) and not os.path.lexists(old) and (new := next(found, None)) is not None:
                moves.append(self._explained(_Move(stat, old, new)))
        return moves

    def _explained(self, move: _Move) -> _Move:
        """Note the move in all scans: none of several hard links is taken for two files."""
        for scan in self._scans():
            scan.explain(*move)
        return move

    def _scans(self) -> list[Scan]:
        """The present scans of all roots."""
        return [scan for root in self._order for scan in (root.running, root.whole, *root.closing) if scan]

    def _move(self, moves: list[_Move]) -> dict[bytes, Stat]:
        """Move unchanged rows; the stat in each row by its new path."""
        if not moves:
            return {}

        def work(writer: Writer) -> dict[bytes, Stat]:
            arrived = {}
            for stat, old, new in moves:
                row = writer.file(old)
                if row is not None and row.stat.without_ctime == stat:
                    apply_move(writer, old, new)
                    if writer.file(new) == row:
                        arrived[new] = row.stat
            return arrived

        return self._committer.submit(work).result()

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

    # the end of a scan

    def _close_gaps(self, root: _RootScans, scan: Scan) -> Findings:
        """Remove the missing files of a directory, or keep them; a scan without gaps left is completed."""
        if not scan.decided and not scan.abandoned:
            self._decide(root, scan)
        if scan.gaps:
            gap, names = scan.gaps.popitem()
            try:
                return Findings(gap, removed=self._remove(root, scan, gap, names))
            except StoreError:
                scan.gaps[gap] = names
                raise
            except Stalled:
                scan.gaps[gap] = names
                return Findings(gap)
        is_complete = scan.is_full and not scan.abandoned and root.trouble != "unavailable"
        if is_complete and not root.trouble:
            root.guard.complete(scan.known - scan.missing)
            self._save_guard(root)
        root.closing.remove(scan)
        return Findings(scan.top, completed=root.path if is_complete else None)

    def _decide(self, root: _RootScans, scan: Scan) -> None:
        """Drop the gaps of a scan if its missing files are to be kept (see ``deletion_guard``)."""
        if scan.confirmed:
            root.trouble = ""
        elif reason := _absence(root, scan):
            root.unavailable(reason)
            scan.gaps.clear()
        elif scan.gaps and (reason := root.guard.holds(scan.missing, scan.known, self._seen_s())):
            self._save_guard(root)
            root.held(scan, reason)
            scan.gaps.clear()
        elif scan.is_full:
            root.trouble = ""
        scan.decided = True

    def _seen_s(self) -> int:
        with self._store.read() as reader:
            return reader.seen_s()

    def _abandon(self, root: _RootScans, scan: Scan, reason: str) -> None:
        scan.abandoned = True
        scan.gaps.clear()
        root.unavailable(reason)

    def _remove(self, root: _RootScans, scan: Scan, gap: bytes, names: set[bytes]) -> int:
        """Remove the rows of a directory's missing files that a second scandir misses as well."""
        unmounted = root.guard.unmounted()
        try:
            disk = self._listed(root, gap)
        except FileNotFoundError:
            if gap != root.path:
                self.request(os.path.dirname(gap), recursive=False, confirmed=scan.confirmed)
            return 0
        except OSError as error:
            log.warning("directory_not_compared", path=gap, reason=error.strerror)
            return 0
        unmounted |= root.guard.unmounted()  # before and after: a disk may come or go during the scandir
        remove = partial(_remove_missing, guard=root.guard, gap=gap, names=names, disk=disk, unmounted=unmounted)
        removed = self._committer.submit(remove).result()
        if removed:
            log.info("files_gone", directory=gap, files=removed)
        return removed


def _absence(root: _RootScans, scan: Scan) -> str:
    """The reason why a root is away as a whole; empty if present."""
    if root.guard.is_root_unmounted():
        return "its disk is not mounted"
    try:
        with os.scandir(root.path) as found:
            is_empty = next(found, None) is None
    except OSError as error:
        return error.strerror or str(error)
    return "it is empty, but files of it are known" if is_empty and scan.missing else ""


def _remove_missing(
    writer: Writer,
    guard: DeletionGuard,
    gap: bytes,
    names: Collection[bytes],
    disk: Entries,
    unmounted: Collection[bytes],
) -> int:
    known = writer.listing(gap)
    removed = 0
    if not guard.hides(gap, unmounted):
        files = (known.files.keys() & names) - disk.files.keys()
        removed += sum(writer.remove_file(os.path.join(gap, name)) for name in files)
    for name in known.directories.intersection(names).difference(disk.directories):
        path = os.path.join(gap, name)
        if not guard.keeps(path, unmounted):
            removed += writer.remove_tree(path)
    return removed


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


def _is_there(path: bytes, stat: Stat) -> bool:
    try:
        return Stat.of(os.lstat(path)).without_ctime == stat
    except OSError:
        return False


def _covered(waiting: dict[bytes, Scan], wanted: Scan) -> bool:
    """Whether a queued scan includes this one."""
    path = wanted.top
    same = waiting.get(path)
    if same is not None and (same.recursive or not wanted.recursive) and _is_as_thorough(same, wanted):
        return True
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        above = waiting.get(path)
        if above is not None and above.recursive and _is_as_thorough(above, wanted):
            return True
    return False


def _is_as_thorough(scan: Scan, wanted: Scan) -> bool:
    return (scan.confirmed or not wanted.confirmed) and scan.depth >= wanted.depth


def _progress(root: _RootScans) -> ScanStatus:
    scans = root.scans()
    return {
        "state": root.trouble or ("scanning" if scans else "idle"),
        "directories_done": sum(scan.done for scan in scans),
        "directories_pending": sum(scan.pending for scan in scans),
        "known_files": root.guard.state.known,
    }

"""The end of a scan: the rows of missing files are removed, or kept."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial

import structlog

from shazimd.errors import StoreError
from shazimd.ingest.commit import Committer
from shazimd.ingest.deletion_guard import DeletionGuard
from shazimd.ingest.patience import Stalled
from shazimd.ingest.root_scans import RootScans
from shazimd.ingest.scan import Findings, Scan
from shazimd.posix.mounts import is_at_or_below
from shazimd.store.base import Store, Writer
from shazimd.watch.listing import Entries

log = structlog.get_logger()


class Removals:
    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer

    def step(self, root: RootScans, scan: Scan) -> Findings:
        """Remove the missing files of a directory, or keep them; a scan without gaps left is completed.

        After a StoreError a later step repeats the work."""
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
            root.save_guard(self._committer)
        root.closing.remove(scan)
        return Findings(scan.top, completed=root.path if is_complete else None)

    def _decide(self, root: RootScans, scan: Scan) -> None:
        """Drop the gaps of a scan if its missing files are to be kept (see ``deletion_guard``)."""
        if scan.confirmed:
            root.trouble = ""
        elif reason := _absence(root, scan):
            root.unavailable(reason)
            scan.gaps.clear()
        elif scan.gaps and (reason := root.guard.holds(scan.missing, scan.known, self._seen_s())):
            root.save_guard(self._committer)
            root.held(scan, reason)
            scan.gaps.clear()
        elif scan.is_full:
            root.trouble = ""
        scan.decided = True

    def _seen_s(self) -> int:
        with self._store.read() as reader:
            return reader.seen_s()

    def _remove(self, root: RootScans, scan: Scan, gap: bytes, names: set[bytes]) -> int:
        """Remove the rows of a directory's missing files that a second scandir misses as well."""
        unmounted = root.guard.unmounted()
        try:
            disk = root.listed(gap)
        except FileNotFoundError:
            if gap != root.path:
                confirmed = scan.confirmed and is_at_or_below(gap, scan.top)
                root.request(Scan(root.path, os.path.dirname(gap), recursive=False, confirmed=confirmed))
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


def _absence(root: RootScans, scan: Scan) -> str:
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

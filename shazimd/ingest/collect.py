"""Removes contents without files, with everything derived from them: after a grace, or at once when asked.

A content stays for a while after its last file was deleted: a returning file is not decoded again. Files of an
unavailable root, or with held deletions, keep their rows, and their contents are never removed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import structlog

from shazimd.errors import BadInput
from shazimd.ingest.commit import Committer
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.search.library import Library
from shazimd.store import keys
from shazimd.store.base import Writer
from shazimd.text import NAME_BYTES_MAX
from shazimd.types import ContentId, Digest

log = structlog.get_logger()

BATCH = 256
"""Contents removed in one transaction, some 10 ms of work."""
INTERVAL_S_MIN, INTERVAL_S_MAX = 1.0, 3600.0
"""Bounds of the time between two looks; a look at a store with nothing due reads one row."""


class Collector:
    """Runs in the lane of background work, in batches."""

    def __init__(self, library: Library, committer: Committer, jobs: Jobs, keep_s: float) -> None:
        """``keep_s``: the grace, see ``[store] keep_deleted``."""
        self._library = library
        self._committer = committer
        self._jobs = jobs
        self._keep_s = keep_s
        self._interval_s = min(max(keep_s / 10, INTERVAL_S_MIN), INTERVAL_S_MAX)
        self._clock_advanced: float | None = None
        self._timer: threading.Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Look for contents whose grace is over, now and then again."""
        self._jobs.offer("collect", self._look, Lane.BACKFILL)

    def stop(self) -> None:
        """End the pause between two looks; to be called once the jobs are closed."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        removed = 0
        try:
            removed = self._collect()
        finally:  # a fault of the disk must not end the collection for good
            if removed == BATCH:
                self.start()
            elif not self._stopped:
                self._timer = threading.Timer(self._interval_s, self.start)
                self._timer.daemon = True
                self._timer.start()

    def _collect(self) -> int:
        """Remove a batch of contents if any is due; the number of contents."""
        if not self._is_due():
            return 0
        removed = _remove(self._library, self._committer, self._keep_s)
        self._clock_advanced = time.monotonic()
        if removed:
            log.info("deleted_contents_removed", contents=removed)
        return removed

    def _is_due(self) -> bool:
        """True if a content is due, or the store's clock was not advanced for an hour."""
        if self._clock_advanced is None or time.monotonic() - self._clock_advanced >= INTERVAL_S_MAX:
            return True
        with self._library.store.read() as reader:
            return any(reader.deleted(self._keep_s))


class Forgotten(NamedTuple):
    number: int
    """the answer to the person who asked"""
    removed: list[ContentId]
    """contents that were removed from the store"""
    held_by: Sequence[str] = ()
    """other hosts with files of the content, which stays for them"""


def forget_path(library: Library, committer: Committer, path: bytes) -> int:
    """Forget a file, or a directory with its subtree, and contents left without a file. The number of files.

    Raises BadInput for "/", which would empty the store, and for a path that can't be in the store."""
    try:
        keys.split_file(path)
    except ValueError as error:
        raise BadInput(
            f"{path.decode('utf-8', 'backslashreplace')}: expected a file or directory below /, with names of at most "
            f"{NAME_BYTES_MAX} bytes"
        ) from error

    def work(writer: Writer) -> Forgotten:
        rows = [row for _, row in writer.walk(path)]
        if row := writer.file(path):
            rows.append(row)
        count = writer.remove_tree(path) + writer.remove_file(path)
        return Forgotten(count, _prune(writer, {row.content for row in rows if row.content is not None}))

    return _commit(library, committer, work).number


def forget_content(library: Library, committer: Committer, digest: Digest) -> Forgotten:
    """Forget this host's files of the content with this digest, and the content, unless other hosts have files of this
    content: the number of contents is 0 or 1."""

    def work(writer: Writer) -> Forgotten:
        content = writer.content(digest)
        if content is None:
            return Forgotten(0, [])
        for path in writer.files_of(content):
            writer.remove_file(path)
        removed = _prune(writer, {content})
        roots = {keys.root_of(path) for path in writer.files_of(content, foreign=True)} if not removed else set()
        return Forgotten(len(removed), removed, sorted(root.removesuffix(b":/").decode() for root in roots))

    return _commit(library, committer, work)


def forget_deleted(library: Library, committer: Committer) -> int:
    """Forget all contents without files at once; the number of contents."""
    total = 0
    while removed := _remove(library, committer, keep_s=0):
        total += removed
    return total


def _remove(library: Library, committer: Committer, keep_s: float) -> int:
    """Remove a batch of contents whose grace is over; the number of contents."""

    def work(writer: Writer) -> Forgotten:
        writer.advance_clock()
        due = _prune(writer, set(islice(writer.deleted(keep_s), BATCH)))
        return Forgotten(len(due), due)

    return _commit(library, committer, work).number


def _prune(writer: Writer, contents: set[ContentId]) -> list[ContentId]:
    """Remove those of the contents without files; the removed ones."""
    orphans = [content for content in sorted(contents) if not writer.is_held(content)]
    writer.prune(orphans)
    return orphans


def _commit(library: Library, committer: Committer, work: Callable[[Writer], Forgotten]) -> Forgotten:
    """Write, then remove the contents from the indexes too, in the order of the writes."""

    def then(forgotten: Forgotten) -> None:
        if forgotten.removed:
            library.remove(forgotten.removed)

    forgotten: Forgotten = committer.submit(work, then).result()
    return forgotten

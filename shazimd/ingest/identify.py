"""The content of a file: read, digested, known by its bytes or decoded by a worker.

Equal bytes are decoded once: the first of several such files has a lock until it is stored, and the others find its
content then.
"""

from __future__ import annotations

import threading
import time
from array import array
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from shazimd.fingerprint import Fingerprint, Query
from shazimd.ingest.arrivals import Arrivals
from shazimd.ingest.decision import OwnDecisions, count_files
from shazimd.ingest.disk import Disk, FoundFile, Picture
from shazimd.ingest.memory_budget import MemoryBudget
from shazimd.ingest.sharing import is_bare
from shazimd.ingest.turn import ComputingTurn
from shazimd.search.library import Library
from shazimd.types import ContentId, Digest, FileRow, Stat

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo

log = structlog.get_logger()

READ_BYTES_MAX = 64 * 2**20
"""Limit of the files in memory at a time; a larger file is alone."""
STRIPES = 4096
"""Locks by digest, for equal bytes to be decoded once. Among 16 concurrent files two different ones share a lock, and
wait for each other without need, 3 times in 100."""
CACHED_BYTES_MAX, CACHED_S = 1 << 20, 60.0
"""A file is read without a wait for the disk if it has at most so many bytes, and changed less than so long ago."""


class QueryToCome(Protocol):
    def result(self) -> Query: ...


class Decoders(Protocol):
    """Decodes pictures in other processes; a result fails with a ShazimdError."""

    def fingerprint(self, data: Picture, model: ModelInfo | None) -> Future[Fingerprint]: ...

    def arrival(self, data: Picture, model: ModelInfo | None) -> QueryToCome: ...


class FileVersion(NamedTuple):
    """A version of a file, and the row of its path before the ingest."""

    path: bytes
    found: FoundFile
    before: FileRow | None
    started: float
    turn: ComputingTurn
    """released before a wait for others"""


class FileContent(NamedTuple):
    """The content of a file."""

    digest: Digest
    query: Query | None = None
    """for new bytes"""
    known: ContentId | None = None
    """for known bytes, as is all that follows"""
    exact: frozenset[ContentId] = frozenset()
    """contents with the same bytes or pixels"""
    files: int = 0
    """``count_files`` of these; 0 for a silent file, which raises no alert"""
    last_arrival: int = 0
    """``Arrivals.visible`` before the store was read: a later arrival may be missing in it"""
    source: bytes | None = None
    """path of a known file with these bytes and this stat, missing there: the file was moved"""
    is_other_name: bool = False
    """a known file is this file by another name: a hard link, a bind mount, a linked root"""
    decided: OwnDecisions | None = None
    is_outdated: bool = False
    """its vector or local features are to be made anew, see ``Library.is_outdated``"""


class Identifier:
    """Finds the contents of files. For many threads, each with a file of its own."""

    def __init__(self, library: Library, decoders: Decoders, disk: Disk, arrivals: Arrivals) -> None:
        self._library = library
        self._decoders = decoders
        self._disk = disk
        self._arrivals = arrivals
        self._same_bytes = [threading.Lock() for _ in range(STRIPES)]
        self._stored = array("L", [0]) * STRIPES
        """how often each of these locks was left"""
        self.memory = MemoryBudget(READ_BYTES_MAX)
        """for all files in memory; the backfill takes its own from it"""

    def content(self, file: FileVersion, until_stored: ExitStack, *, silent: bool) -> FileContent | None:
        """Read a file, and decode new bytes; None if the file changed meanwhile. Raises ShazimdError.

        ``until_stored`` gets the lock on new bytes. The file is in memory only until this returns: a commit waits for
        the disk, together with many others."""
        stat = file.found.stat
        if not (_is_likely_cached(stat) and self.memory.has_room(stat.size)):
            file.turn.release()
        with self.memory.taking(stat.size):
            content = self._disk.read(file.path, stat)
            if content is None:
                return None
            data, digest = content
            stripe = int.from_bytes(digest[:2]) % STRIPES
            stored = self._stored[stripe]
            file.turn.take()
            if (known := self._known(digest, file, silent)) is not None:
                return known
            file.turn.release()
            until_stored.enter_context(self._same_bytes[stripe])
            until_stored.callback(self._note_stored, stripe)
            if self._stored[stripe] != stored and (known := self._known(digest, file, silent)) is not None:
                return known
            return FileContent(digest, query=self._decoded(file.path, data, silent))

    def _note_stored(self, stripe: int) -> None:
        self._stored[stripe] += 1

    def _known(self, digest: Digest, file: FileVersion, silent: bool) -> FileContent | None:
        """The content with these bytes, from a single snapshot; None for new bytes."""
        last_arrival = self._arrivals.visible
        with self._library.store.read() as reader:
            content = reader.content(digest)
            if content is None or is_bare(reader, content):
                return None
            exact = frozenset([content, *reader.twins(content)])
            alike = reader.files_with_stat(content, file.found.stat)
            files = 0 if silent else count_files(reader, exact, file.path)
            decided = OwnDecisions.read(reader, digest)
            is_outdated = self._library.is_outdated(reader, content)
        source = next(filter(self._disk.is_missing, alike), None)
        is_other_name = any(self._is_decided_name(path, file) for path in alike)
        return FileContent(
            digest, None, content, exact, files, last_arrival, source, is_other_name, decided, is_outdated
        )

    def _is_decided_name(self, path: bytes, file: FileVersion) -> bool:
        """Whether a path is another name of a file, and no alert is to be decided under it."""
        other = self._disk.glance(path)
        is_same_file = path != file.path and other is not None and other.is_same_file(file.found)
        return is_same_file and not self._arrivals.is_undecided(path)

    def _decoded(self, path: bytes, data: Picture, silent: bool) -> Query:
        model = self._library.model
        if silent:
            query = query_of(self._decoders.fingerprint(data, model).result())
        else:
            query = self._decoders.arrival(data, model).result()
        if model is not None and query.fingerprint.signals.fv is None:
            log.warning("vector_missing", path=path, model=model.id, handle=model.source, matching="hashes only")
        return query


def _is_likely_cached(stat: Stat) -> bool:
    """Whether the kernel likely has a file in memory: it is small, and was written a moment ago."""
    return stat.size <= CACHED_BYTES_MAX and abs(time.time() - stat.ctime_ns / 1e9) < CACHED_S


def query_of(fingerprint: Fingerprint) -> Query:
    return Query(fingerprint, fingerprint.orientations, fingerprint.features)

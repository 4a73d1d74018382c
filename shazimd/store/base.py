"""What a store promises, whatever its medium.

A store keeps files (a path, its stat and the content it holds), contents (a digest and its fingerprint), roots
and alerts. One process has it open; any of its threads may read, one at a time writes.

Paths are absolute, normalised bytes. Content ids and alert ids grow and are never used again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from shazimd.types import ContentId, Digest, FileRow, Fingerprint, FloatVector, Listing, Query, Signals

T = TypeVar("T")


class Reader(ABC):
    """One consistent picture of the store."""

    @abstractmethod
    def file(self, path: bytes) -> FileRow | None:
        """The row of one file, None when unknown."""

    @abstractmethod
    def listing(self, directory: bytes) -> Listing:
        """One directory level: its known files and the known directories below it; empty when unknown."""

    @abstractmethod
    def walk(self, directory: bytes) -> Iterator[tuple[bytes, FileRow]]:
        """Every known file below a directory, as (path, row), in the order of the tree."""

    @abstractmethod
    def content(self, digest: Digest) -> ContentId | None:
        """The content with these bytes, None when unknown."""

    @abstractmethod
    def digest(self, content: ContentId) -> Digest:
        """What names the bytes of a content. Raises KeyError when unknown."""

    @abstractmethod
    def contents_with_pixels(self, pixels: bytes) -> list[ContentId]:
        """The contents whose ``Fingerprint.pixels`` is this, in order of id."""

    @abstractmethod
    def fingerprint(self, content: ContentId, model: str | None) -> Fingerprint:
        """What is kept of a content, with the vector of ``model`` if there is one.

        Raises KeyError when the content is unknown."""

    @abstractmethod
    def features(self, content: ContentId) -> bytes:
        """``Fingerprint.features`` of a content, nothing else of it being read. Raises KeyError when unknown."""

    @abstractmethod
    def pixels(self, content: ContentId) -> bytes | None:
        """``Fingerprint.pixels`` of a content. Raises KeyError when unknown."""

    @abstractmethod
    def size_in_pixels(self, content: ContentId) -> tuple[int, int]:
        """(width, height) of a content. Raises KeyError when unknown."""

    @abstractmethod
    def files_of(self, content: ContentId) -> list[bytes]:
        """The paths that hold this content, sorted; empty when all are gone."""

    @abstractmethod
    def signals(self, model: str | None, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals]]:
        """What the index is built from: every content that is not low in information, id > ``after``, in order."""

    @abstractmethod
    def without_vector(self, model: str, after: ContentId = 0) -> Iterator[ContentId]:
        """Contents that still lack this model's vector and have at least one file, in order of id."""

    @abstractmethod
    def removals(self, after: int = 0) -> Iterator[tuple[int, ContentId]]:
        """Contents that were removed for good, as (sequence number, id), sequence number > ``after``."""

    @abstractmethod
    def alerts(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Alerts with id > ``after``, oldest first, as (id, record)."""

    @abstractmethod
    def pending_alerts(self) -> Iterator[tuple[int, bytes, Query]]:
        """Files whose alert is still to be decided, as (number, path, query), in the order in which they were added."""

    @abstractmethod
    def get(self, key: str) -> Any:
        """A small value kept under a name (see ``Writer.set``), None when unset."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """``images`` (indexed files), ``contents``, ``failed`` (files), ``alerts``, ``vectors``; cheap."""


class Writer(Reader):
    """A write transaction: reads see what it has written. Nothing is kept unless all of it is."""

    @abstractmethod
    def put_file(self, path: bytes, row: FileRow) -> None:
        """Say what a file is now. Its directories are made known as needed."""

    @abstractmethod
    def remove_file(self, path: bytes) -> bool:
        """Forget one file; True when it was known. Its content stays (see ``prune``)."""

    @abstractmethod
    def remove_tree(self, directory: bytes) -> int:
        """Forget a directory and all below it; the number of files forgotten."""

    @abstractmethod
    def move(self, old: bytes, new: bytes) -> None:
        """Rename a file or a directory with all below it; what was known at ``new`` is forgotten first.

        The cost of a directory does not grow with what lies below it. Does nothing when ``old`` is unknown."""

    @abstractmethod
    def add_content(self, digest: Digest, fingerprint: Fingerprint) -> ContentId:
        """Keep a content; the id it has already when the digest is known (and then nothing changes)."""

    @abstractmethod
    def put_vector(self, content: ContentId, model: str, fv: FloatVector) -> None:
        """Keep one model's vector of a known content (stored as float16)."""

    @abstractmethod
    def drop_vectors(self, model: str) -> None:
        """Forget all vectors of a model."""

    @abstractmethod
    def prune(self, contents: Sequence[ContentId]) -> int:
        """Remove those of these contents that have no file left; how many. Each is told by ``removals`` from now on."""

    @abstractmethod
    def add_alert(self, record: dict[str, Any]) -> int:
        """Keep an alert (plain JSON values); its id."""

    @abstractmethod
    def add_pending_alert(self, path: bytes, query: Query) -> int:
        """Note that a file's alert is still to be decided, with all that deciding takes; the note's number. Numbers
        grow. Vectors are kept as float16."""

    @abstractmethod
    def remove_pending_alert(self, number: int) -> None:
        """Drop such a note; an unknown number is passed over."""

    @abstractmethod
    def set(self, key: str, value: Any) -> None:
        """Keep a small value (plain JSON) under a name; None removes it."""


class Store(ABC):
    """An open store."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Reader]:
        """A context manager that gives a ``Reader``. Keep it short: an open one holds back freed pages."""

    @abstractmethod
    def write(self, work: Callable[[Writer], T]) -> T:
        """Run ``work`` in one write transaction and return its result once that is durable (on the disk).

        An exception leaves the store as it was. ``work`` may be run again from the start (when the store had to
        grow), so it must change nothing but the store. Raises StoreFull when the disk is full or read-only:
        nothing was kept, reads go on, and a later call may succeed."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """path, schema, size_bytes (on disk), map_size_bytes, generation (grows with each write)."""

    @abstractmethod
    def check(self) -> list[str]:
        """Compare all tables with each other: what is wrong, one sentence each. Reads everything; reads and writes go
        on meanwhile."""

    @abstractmethod
    def backup(self, path: str) -> None:
        """Write a consistent, compact copy into a new directory, which is a store then. Reads and writes go on
        meanwhile. Raises StoreError when the path exists, StoreFull when its disk is full."""

    @abstractmethod
    def compact(self) -> None:
        """Give the disk back what removed rows took. Needs room for a copy; reads and writes wait meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go. Waits for readers and the writer; closing twice is fine."""

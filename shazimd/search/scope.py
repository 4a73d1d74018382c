"""Searches among some of the known contents: those with a file in a bank, for a root whose matches are limited to it.

The candidates of a picture are few, so contents that may not be named must not take their places: a hundred uploads of
a banned picture are as near to the next upload as the original in the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from shazimd.fingerprint import Signals
from shazimd.store.base import Reader, Store
from shazimd.types import ContentId, Digest, FileRow, Hit, Weights
from shazimd.words.index import WordIndex

GROWTH = 8
"""Factor of the next look-up's limit if too few of the found contents are in scope."""


class Scope(NamedTuple):
    """The files that an answer may name, as far as the store knows."""

    below: Sequence[bytes] = ()
    """in the subtrees of these directories; none: anywhere"""
    foreign: bool = False
    """of the other hosts instead of this one"""
    silences: Callable[[Digest], bool] | None = None
    """contents of which no file may be named, if any"""

    def files(self, reader: Reader, content: ContentId, limit: int) -> list[tuple[bytes, FileRow]]:
        """At most ``limit`` files of a content with their rows."""
        files = reader.some_files_of(content, limit, foreign=self.foreign, below=self.below)
        return [] if files and self.is_silenced(reader, content) else files

    def is_silenced(self, reader: Reader, content: ContentId) -> bool:
        return self.silences is not None and self.silences(reader.digest(content))


OWN = Scope()
"""All files of this host."""


class KnownRows(Protocol):
    """The part of an ``Index`` that proposes candidates."""

    def best_of(
        self, orientations: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None, /
    ) -> list[Hit]: ...


class Known(Protocol):
    """The part of a ``Library`` that searches use."""

    @property
    def store(self) -> Store: ...
    @property
    def index(self) -> KnownRows: ...
    @property
    def faint(self) -> KnownRows: ...
    @property
    def words(self) -> WordIndex: ...
    @property
    def model_id(self) -> str | None: ...
    @property
    def copy_from(self) -> float | None: ...
    def membership(self) -> AbstractContextManager[Callable[[ContentId], bool]]: ...


class Scoped:
    """The contents of a library that are in scope, for one question: each content is looked up once."""

    def __init__(self, library: Known, scope: Scope) -> None:
        self._library = library
        self._scope = scope
        self._in_scope: dict[ContentId, bool] = {}
        self.passed_over: list[ContentId] = []
        """contents out of scope that the look-ups found, the likeliest by words first"""

    @property
    def store(self) -> Store:
        return self._library.store

    @property
    def index(self) -> KnownRows:
        return _ScopedRows(self._library.index, self)

    @property
    def faint(self) -> KnownRows:
        return _ScopedRows(self._library.faint, self)

    @property
    def words(self) -> WordIndex:
        return self._library.words

    @property
    def model_id(self) -> str | None:
        return self._library.model_id

    @property
    def copy_from(self) -> float | None:
        return self._library.copy_from

    @contextmanager
    def membership(self) -> Iterator[Callable[[ContentId], bool]]:
        """Whether a content has a file in scope, in one transaction."""

        def has(content: ContentId) -> bool:
            if content not in self._in_scope:
                self._in_scope[content] = bool(self._scope.files(reader, content, 1))
                if not self._in_scope[content]:
                    self.passed_over.append(content)
            return self._in_scope[content]

        with self.store.read() as reader:
            yield has


class _ScopedRows:
    def __init__(self, rows: KnownRows, scoped: Scoped) -> None:
        self._rows = rows
        self._scoped = scoped

    def best_of(
        self, orientations: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[Hit]:
        size = limit
        while True:
            hits = self._rows.best_of(orientations, weights, threshold, size)
            with self._scoped.membership() as has:
                kept = [hit for hit in hits if has(hit.content)]
            if limit is None or size is None or len(kept) >= limit or len(hits) < size:
                return kept[:limit]
            size *= GROWTH

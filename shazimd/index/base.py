"""The promise of every index, and the part of a store that an index is built from.

A row is a content's signals under its content id. All vectors in an index are of one model. A search returns exactly
the result of comparing the query with every row by ``search.score`` on the signals as the store keeps them (vectors
rounded to float16): the same rows, best score first, ties by growing id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.types import ContentId, Hit, Weights


class Index(ABC):
    @abstractmethod
    def add(self, rows: Sequence[tuple[ContentId, Signals]]) -> None:
        """Make rows findable; a row with a known id is replaced.

        Raises ValueError for a vector of another width than the index has, or a vector that is not finite."""

    @abstractmethod
    def remove(self, contents: Sequence[ContentId]) -> None:
        """Remove rows; unknown ids are skipped."""

    @abstractmethod
    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        """For each query the rows with score >= threshold, best first, at most ``limit``.

        Safe from several threads at once, beside ``add`` and ``remove``: each query sees a row whole or not at all.
        Raises ValueError for weights that are negative, not finite or all zero, for a threshold outside [0, 1], and
        for a vector of another width."""

    def best_of(
        self, orientations: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[Hit]:
        """As ``search`` for all orientations of one picture, each row once: with its best score, and the similarities
        of the first orientation that has it."""
        found = chain(*self.search(orientations, weights, threshold, limit))
        best: dict[ContentId, Hit] = {}
        for hit in sorted(found, key=lambda hit: (-hit.score, hit.content)):
            best.setdefault(hit.content, hit)
        return list(islice(best.values(), limit))

    @abstractmethod
    def pairs(self, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[tuple[ContentId, list[Hit]]]:
        """Every pair of rows with score >= threshold, once: for each id > ``after`` in growing order, its hits
        among the smaller ids. Memory stays bounded; resume by passing the last id seen. Rows added
        meanwhile may be missing."""

    def compact(self) -> None:  # noqa: B027  # an index in memory has nothing to rewrite
        """Rewrite the files without removed rows."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def __contains__(self, content: object) -> bool: ...

    @abstractmethod
    def close(self) -> None:
        """Release files and threads. An index on disk keeps its rows for a fast start."""


class Source(Protocol):
    """The contents to index; a store's ``Reader`` is a source."""

    def signals(self, model: str | None, after: ContentId = 0, /) -> Iterator[tuple[ContentId, Signals]]:
        """Every content to index with id > ``after``, by growing id."""

    def without_vector(self, model: str, after: ContentId = 0, /) -> Iterator[ContentId]:
        """Contents that lack this model's vector."""

    def removals(self, after: int = 0, /) -> Iterator[tuple[int, ContentId]]:
        """Removed contents as (sequence number, id), for sequence numbers > ``after``."""

    def fingerprint(self, content: ContentId, model: str | None, /) -> Fingerprint:
        """Raises KeyError for an unknown content."""

"""What an index promises, whatever its medium.

A row is a content's signals under its content id. All vectors in an index are of one model. The answer to a search
is exactly that of comparing the query with every row by ``search.score`` on the signals as the store keeps them
(vectors rounded to float16): the same rows, best score first, ties by growing id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from shazimd.types import ContentId, Hit, Signals, Weights


class Index(ABC):
    @abstractmethod
    def add(self, rows: Sequence[tuple[ContentId, Signals]]) -> None:
        """Make rows findable; a row whose id is known is replaced.

        Raises ValueError for a vector of another width than the index has, or one that is not finite."""

    @abstractmethod
    def remove(self, contents: Sequence[ContentId]) -> None:
        """Forget rows; unknown ids are passed over."""

    @abstractmethod
    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        """For each query the rows with score >= threshold, best first, at most ``limit``.

        Safe from several threads at once, beside ``add`` and ``remove``: each query sees a row whole or not at all.
        Raises ValueError for weights that are negative, not finite or all zero, for a threshold outside [0, 1], and
        for a vector of another width."""

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
        """Let go; what can be kept for a faster start is kept."""

"""Candidates by local features: an inverted index of visual words (Sivic and Zisserman, ICCV 2003).

A picture that lies in a corner of a collage, or of which a third is left, has hashes and a vector of its own, but
many of its words are still those of the original. Each content votes with the words that it shares with the query;
rare words count more. This proposes and geometry decides: unlike ``Index`` it promises no exact answer. What it finds
stands in benchmarks/quality/README.md.

Rows are sealed in segments, each a table word -> rows; new rows wait unsorted. Segments of like size are merged, so
adding stays cheap. About 600 bytes a content.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shazimd.types import ContentId

WORDS = 65_536
_SEAL_AT = 1_024
"""Rows that wait unsorted; a search looks at all of them."""
_SMOOTHING = 20
"""Added to a content's number of words, so that chance hits in a poor picture do not outvote those in a rich one."""

Row = tuple[ContentId, NDArray[np.uint16]]
"""A content and its words."""
T = TypeVar("T", bound=np.generic)


class WordIndex:
    """Safe from several threads at once: a search sees each row whole or not at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[ContentId] = set()
        self._state = _State((), (), frozenset(), np.zeros(WORDS, np.int64))

    def add(self, rows: Sequence[Row]) -> None:
        """Make contents findable by their words; one that is known is passed over, for its words never change."""
        with self._lock:
            fresh = {content: np.unique(words) for content, words in rows if content not in self._known}
            self._known.update(fresh)
            self._state = self._state.with_rows(tuple(fresh.items()))

    def remove(self, contents: Sequence[ContentId]) -> None:
        """Forget contents; unknown ones are passed over. Their ids are never used again."""
        with self._lock:
            self._state = replace(self._state, gone=self._state.gone | self._known.intersection(contents))
            self._known.difference_update(contents)

    def search(self, words: NDArray[np.uint16], limit: int) -> list[ContentId]:
        """The ``limit`` contents that most likely show what the query shows, upright or mirrored, likeliest first.

        Contents that share no word are not among them."""
        state = self._state
        votes = np.maximum(state.votes(np.unique(words)), state.votes(np.unique(words.byteswap())))
        order = np.argsort(-votes, kind="stable")[: limit + len(state.gone)]
        contents = state.contents()[order[votes[order] > 0]]
        return [content for content in contents.tolist() if content not in state.gone][:limit]

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, content: object) -> bool:
        return content in self._known


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    contents: NDArray[np.int64]
    """[n]"""
    counts: NDArray[np.int64]
    """[n]: how many words each content has"""
    starts: NDArray[np.int64]
    """[WORDS + 1]: where each word's rows begin in ``rows``"""
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, items: Sequence[Row]) -> _Segment:
        counts = _counts(items)
        words = _joined([words for _, words in items], np.uint16)
        order = np.argsort(words, kind="stable")
        return cls(
            contents=np.array([content for content, _ in items], np.int64),
            counts=counts,
            starts=np.searchsorted(words[order], np.arange(WORDS + 1)),
            rows=np.repeat(np.arange(len(items), dtype=np.int32), counts)[order],
        )

    def items(self) -> list[Row]:
        """What it was made of."""
        words = np.repeat(np.arange(WORDS).astype(np.uint16), np.diff(self.starts))
        each = np.split(words[np.argsort(self.rows, kind="stable")], np.cumsum(self.counts)[:-1])
        return list(zip(self.contents.tolist(), each, strict=True))

    def votes(self, words: NDArray[np.uint16], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n]: the weights of those of these words that each content has."""
        begins, ends = self.starts[words], self.starts[words.astype(np.intp) + 1]
        rows = _joined([self.rows[begin:end] for begin, end in zip(begins, ends, strict=True)], np.int32)
        votes = np.bincount(rows, np.repeat(weights, ends - begins), minlength=len(self.contents))
        return np.asarray(votes, np.float64)  # bincount of nothing counts in whole numbers


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What a search sees; replaced as a whole, never changed."""

    sealed: tuple[_Segment, ...]
    """each at least twice as large as the next, so that there are few"""
    waiting: tuple[Row, ...]
    gone: frozenset[ContentId]
    """removed, but still among the rows"""
    frequencies: NDArray[np.int64]
    """[WORDS]: how many rows have each word"""

    def with_rows(self, fresh: tuple[Row, ...]) -> _State:
        frequencies = self.frequencies.copy()
        for _, words in fresh:
            frequencies[words] += 1
        added = replace(self, waiting=self.waiting + fresh, frequencies=frequencies)
        return added if len(added.waiting) < _SEAL_AT else added._with_all_sealed()

    def _with_all_sealed(self) -> _State:
        sealed, items = list(self.sealed), list(self.waiting)
        while sealed and len(sealed[-1].contents) < 2 * len(items):
            items = sealed.pop().items() + items
        kept = [row for row in items if row[0] not in self.gone]
        frequencies = self.frequencies.copy()
        for _, words in (row for row in items if row[0] in self.gone):
            frequencies[words] -= 1
        gone = self.gone.difference(content for content, _ in items)
        return _State((*sealed, _Segment.of(kept)), (), gone, frequencies)

    def contents(self) -> NDArray[np.int64]:
        waiting = np.array([content for content, _ in self.waiting], np.int64)
        return _joined([*(segment.contents for segment in self.sealed), waiting], np.int64)

    def votes(self, words: NDArray[np.uint16]) -> NDArray[np.float64]:
        """[n], in the order of ``contents``: the votes of these distinct words, over the root of a content's own."""
        rows = len(self.waiting) + sum(len(segment.contents) for segment in self.sealed)
        weights = np.log1p(rows / np.maximum(self.frequencies[words], 1))
        parts = [segment.votes(words, weights) for segment in self.sealed]
        counts = _joined([*(segment.counts for segment in self.sealed), _counts(self.waiting)], np.int64)
        votes = _joined([*parts, self._waiting_votes(words, weights)], np.float64)
        return votes / np.sqrt(counts + _SMOOTHING)

    def _waiting_votes(self, words: NDArray[np.uint16], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        table = np.zeros(WORDS)
        table[words] = weights
        return np.array([table[own].sum() for _, own in self.waiting])


def _counts(items: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([len(words) for _, words in items], np.int64)


def _joined(parts: Sequence[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    """All parts in a row, also where there are none."""
    return np.concatenate([np.empty(0, dtype), *parts])

"""Candidates by local features: an inverted index of visual words (Sivic and Zisserman, ICCV 2003).

A picture that lies in a corner of a collage, or of which a third is left, has hashes and a vector of its own, but
many of its words are still those of the original. Each content votes with the words that it shares with the query;
rare words count more. What has more votes than chance gives is proposed, and geometry decides: unlike ``Index`` this
promises no exact answer. What it finds stands in benchmarks/quality/README.md.

Rows are sealed in segments (``segments``), each a table word -> rows; new rows wait unsorted. Segments of like size are
merged in the background, so adding stays cheap. In a directory segments are files that are mapped: some 530 bytes a
content that are the page cache's, and 5 bytes of our own; a start reads from the store only what is in none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from shazimd.index import segments
from shazimd.index.segments import Segment
from shazimd.types import ContentId

Row = tuple[ContentId, NDArray[np.uint16]]
"""A content and its words."""

_SEAL_AT = 1_024
"""Rows that wait unsorted; a search looks at all of them."""
_BLOCK = 1_024
"""Votes of which only the largest is looked at first."""
STANDS_OUT = 5.0
"""Standard deviations above the mean of what chance gives, from where on a content is proposed; see
benchmarks/quality/README.md."""
ALWAYS = 3
"""The best so many are proposed in any case: a poor copy stands out less, but is hardly ever beaten."""
_SAMPLE = 4_096
"""Votes from which chance is told."""
_CHANCE_MIN = 100
"""Fewer do not tell it."""

logger = structlog.get_logger()


class WordIndex:
    """Safe from several threads at once: a search sees each row whole or not at all."""

    def __init__(self, directory: str | None = None) -> None:
        """In memory, or in a directory of which it is the only user; ``load`` takes over what is there."""
        self._directory = directory
        self._lock = threading.Lock()
        self._state = _State()
        self._next = 0
        self._executor = ThreadPoolExecutor(1, "words")
        self._merging: Future[None] | None = None
        self._loaded = directory is None
        self._removed_early: list[ContentId] = []
        self._closed = False

    def load(self, removed: Iterable[ContentId]) -> None:
        """Take over what an earlier run left in the directory, but for contents that are ``removed``; until then
        nothing is written. Raises OSError where the directory can't be read."""
        assert self._directory is not None
        gone = np.fromiter(removed, np.int64)
        found = _State(tuple(segment.without(gone) for segment in segments.load(self._directory)))
        with self._lock:
            found = found.without(self._removed_early)
            waiting = self._state.waiting
            self._state = replace(found, waiting={content: waiting[content] for content in found.missing([*waiting])})
            self._next = found.sealed[-1].last + 1 if found.sealed else 0
            self._loaded = True

    def missing(self, contents: Sequence[ContentId]) -> list[ContentId]:
        """Those that are not known, nor were."""
        return self._state.missing(contents)

    def add(self, rows: Sequence[Row]) -> None:
        """Make contents findable by their words; one that is known is passed over, for its words never change."""
        words_of = dict(rows)
        with self._lock:
            fresh = {content: np.unique(words_of[content]) for content in self._state.missing(list(words_of))}
            self._state = replace(self._state, waiting=self._state.waiting | fresh)
            if self._loaded and len(self._state.waiting) >= _SEAL_AT:
                self._seal()
                self._tend()

    def remove(self, contents: Sequence[ContentId]) -> None:
        """Forget contents; unknown ones are passed over. Their ids are never used again."""
        with self._lock:
            self._state = self._state.without(contents)
            if not self._loaded:
                self._removed_early += contents

    def search(self, words: NDArray[np.uint16], limit: int) -> list[ContentId]:
        """Contents that likely show what the query shows, upright or mirrored, likeliest first: at most ``limit``, a
        few and what stands out. Where too few are known to tell that, all that share a word do."""
        return self._state.likeliest(words, limit)

    def compact(self) -> None:
        """Rewrite the segments if any has words of removed contents."""
        with self._lock:
            done = None if self._closed else self._executor.submit(self._merge_removed)
        if done is not None:
            done.result()

    def _merge_removed(self) -> None:
        with self._lock:
            parts = self._state.sealed
            if not any(part.alive.any() for part in parts):  # a segment has at least one content
                self._state = replace(self._state, sealed=())
        if all(part.alive.all() for part in parts):
            return
        named = set()
        if any(part.alive.any() for part in parts):
            made = segments.merged(parts, self._directory)
            named.add((made.first, made.last))  # one segment is replaced by a file of the same name
            with self._lock:
                self._state = self._state.merged(made)
        for part in parts:
            if self._directory is not None and (part.first, part.last) not in named:
                segments.delete(part, self._directory)

    def close(self) -> None:
        """Keep what waits, and let go."""
        with self._lock:
            self._closed = True
            if self._directory is not None and self._loaded and self._state.waiting:
                self._seal()
        self._executor.shutdown()

    def __len__(self) -> int:
        state = self._state
        return len(state.waiting) + sum(int(np.count_nonzero(segment.alive)) for segment in state.sealed)

    def __contains__(self, content: object) -> bool:
        return isinstance(content, int) and self._state.has(content)

    def _seal(self) -> None:
        """Sort what waits; in memory where the disk does not take it, to be read from the store at the next start."""
        part = Segment.of(self._next, self._state.waiting)
        try:
            sealed = segments.merged([part], self._directory)
        except OSError as error:
            logger.warning("words_not_written", reason=str(error))
            sealed = segments.merged([part], None)
        self._next += 1
        self._state = replace(self._state, sealed=(*self._state.sealed, sealed), waiting={})

    def _tend(self) -> None:
        """Start what is due in the background. The lock is held."""
        parts = self._state.mergeable()
        if len(parts) > 1 and not self._closed and (self._merging is None or self._merging.done()):
            self._merging = self._executor.submit(self._merge, parts)

    def _merge(self, parts: Sequence[Segment]) -> None:
        try:
            made = segments.merged(parts, self._directory)
            with self._lock:
                self._state = self._state.merged(made)
                self._merging = None
                self._tend()
            if self._directory is not None:
                for part in parts:
                    segments.delete(part, self._directory)
        except OSError as error:  # searches take longer; it is tried again when there is more
            logger.warning("words_not_merged", reason=str(error))


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What a search sees; replaced as a whole, never changed."""

    sealed: tuple[Segment, ...] = ()
    """in the order of their numbers"""
    waiting: dict[ContentId, NDArray[np.uint16]] = field(default_factory=dict)

    def missing(self, contents: Sequence[ContentId]) -> list[ContentId]:
        asked = np.array([content for content in contents if content not in self.waiting], np.int64)
        for segment in self.sealed:
            asked = asked[~segment.find(asked)[1]]
        return list(map(int, asked))

    def has(self, content: ContentId) -> bool:
        found = [(segment, *segment.find(np.array([content]))) for segment in self.sealed]
        return content in self.waiting or any(known[0] and s.alive[places[0]] for s, places, known in found)

    def without(self, contents: Sequence[ContentId]) -> _State:
        gone = np.array(contents, np.int64)
        waiting = {content: words for content, words in self.waiting.items() if content not in set(contents)}
        return _State(tuple(segment.without(gone) for segment in self.sealed), waiting)

    def mergeable(self) -> tuple[Segment, ...]:
        """The newest segments, so many that each older one is at least twice as large as all newer ones."""
        sizes = [len(segment.contents) for segment in self.sealed]
        start = len(sizes) - 1
        while start > 0 and sizes[start - 1] < 2 * sum(sizes[start:]):
            start -= 1
        return self.sealed[max(start, 0) :]

    def merged(self, made: Segment) -> _State:
        """With a segment in place of those whose numbers it covers, less what was removed from these meanwhile."""
        sealed = []
        for segment in self.sealed:
            if not made.first <= segment.first <= made.last:
                sealed.append(segment)
            else:
                made = made.without(segment.contents[~segment.alive])
        return replace(self, sealed=tuple(sorted([*sealed, made], key=lambda segment: segment.first)))

    def likeliest(self, asked: NDArray[np.uint16], limit: int) -> list[ContentId]:
        """The ``limit`` contents with most votes of these words or of those with swapped bytes, most first."""
        parts: list[_Part] = [_Waiting(self.waiting), *self.sealed]
        sides = [np.unique(words).astype(np.intp) for words in (asked, asked.byteswap())]
        weights = [self._weights(words, parts) for words in sides]
        found: list[tuple[float, ContentId]] = []
        sample: list[NDArray[np.float64]] = []
        step = max(1, sum(len(part.contents) for part in parts) // _SAMPLE)
        for part in parts:
            votes = np.maximum(*(part.votes(words, given) for words, given in zip(sides, weights, strict=True)))
            votes *= part.scale
            best = _likeliest(votes, limit)
            found += zip((-votes[best]).tolist(), part.contents[best].tolist(), strict=True)
            sample.append(votes[::step])
        found.sort()
        bar = _bar(np.concatenate(sample), most=-found[0][0]) if found else 0.0
        return [content for rank, (least, content) in enumerate(found[:limit]) if -least >= bar or rank < ALWAYS]

    def _weights(self, words: NDArray[np.intp], parts: Sequence[_Part]) -> NDArray[np.float64]:
        """The rarer a word, the more it counts."""
        rows = sum(len(part.contents) for part in parts)
        having = np.sum([part.frequencies(words) for part in parts], axis=0)
        return np.asarray(np.log1p(rows / np.maximum(having, 1)), np.float64)


class _Waiting:
    """Rows that are not sealed, as a segment answers: to look at all of their words takes less than to sort them."""

    def __init__(self, rows: dict[ContentId, NDArray[np.uint16]]) -> None:
        self.contents = np.array([*rows], np.int64)
        counts = np.array([len(words) for words in rows.values()], np.int64)
        self.scale = segments.scale(counts)
        self._words = np.concatenate([np.empty(0, np.uint16), *rows.values()])
        self._of = np.repeat(np.arange(len(rows)), counts)
        self._frequencies = np.bincount(self._words, minlength=segments.WORDS)

    def frequencies(self, words: NDArray[np.intp]) -> NDArray[np.int64]:
        return self._frequencies[words]

    def votes(self, words: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        table = np.zeros(segments.WORDS)
        table[words] = weights
        return np.bincount(self._of, table[self._words], minlength=len(self.contents)).astype(np.float64)


_Part: TypeAlias = Segment | _Waiting


def _bar(votes: NDArray[np.float64], most: float) -> float:
    """From where on votes stand out from what chance gives: from those with less than half of the most, for copies may
    be many."""
    chance = votes[votes < most / 2]
    if len(chance) < _CHANCE_MIN:
        return 0.0
    return float(chance.mean() + STANDS_OUT * chance.std())


def _likeliest(votes: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Where the ``limit`` largest positive votes are, largest first. The limit-th largest of the blocks' largest votes
    is a bar that as many reach, so only what reaches it is sorted."""
    if not len(votes):
        return np.empty(0, np.intp)
    largest = np.sort(np.maximum.reduceat(votes, np.arange(0, len(votes), _BLOCK)))[::-1]
    bar = largest[limit - 1] if len(largest) >= limit else 0.0
    reach = np.flatnonzero((votes >= bar) & (votes > 0))
    return reach[np.argsort(-votes[reach], kind="stable")[:limit]]

"""Candidates by local features: an inverted index of visual words (Sivic and Zisserman, ICCV 2003).

A picture in the corner of a collage, or a crop that keeps a third, has hashes and a vector of its own, but many of its
words are those of the original. Each content gets votes from the words shared with the query; rare words count more.
A content with more votes than chance explains is proposed, and geometry decides. Unlike ``Index`` this promises no
exact answer; benchmarks/quality/README.md has the recall.

New contents collect in a buffer. A full buffer is sealed as a segment (``segments``), and a background thread merges
segments of similar size, which keeps adding cheap. Segments are mapped files: about 530 bytes a content in the page
cache and 5 bytes of process memory. A start reads only the contents from the store that no segment has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from shazimd.types import ContentId
from shazimd.words import segments
from shazimd.words.segments import Segment

Words: TypeAlias = NDArray[np.uint16]

_SEAL_AT = 1_024
"""Contents in a full buffer. Every search reads the whole buffer."""
_BLOCK = 1_024
"""Votes in a block; a block is skipped when its largest vote is too small."""
STANDS_OUT = 5.0
"""Minimum z-score of a candidate's votes over chance; see benchmarks/quality/README.md. Chance is estimated from
contents with less than half of the most votes, since copies may be many."""
RARE_STANDS_OUT = 4.0
"""The same over all contents, for what is rarely there. Of 70 negatives of tuned photos, smaller and recompressed, 67
are proposed among 700, and 1.3 others for a photo."""
ALWAYS = 3
"""Number of best contents proposed at any z-score: a poor copy stands out less, but is hardly ever beaten."""
LOOKED_THROUGH = 256
"""Number of best contents among which those at any z-score are looked for, where not all are admitted."""
_GROWTH = 8
"""Factor of the number looked through if too few are admitted."""
_SAMPLE = 4_096
"""Votes in the sample that estimates chance."""
_CHANCE_MIN = 100
"""Smallest sample with a meaningful mean and deviation."""

logger = structlog.get_logger()


class WordIndex:
    """Safe from several threads at once: a search sees each content whole or not at all.

    Searches read ``_state``, a snapshot; writers replace the snapshot under the lock."""

    def __init__(self, directory: str) -> None:
        """The only user of ``directory``. Nothing is written before ``load``."""
        self._directory = directory
        self._lock = threading.Lock()
        self._state = _State()
        self._next = 0
        self._executor = ThreadPoolExecutor(1, "words")
        self._merging: Future[None] | None = None
        self._loaded = False
        self._removed_early: list[ContentId] = []
        self._closed = False

    def load(self, removed: Iterable[ContentId]) -> None:
        """Open the segments of the previous run, without the ``removed`` contents. Raises OSError for an unreadable
        directory."""
        gone = np.fromiter(removed, np.int64)
        found = _State(tuple(segment.without(gone) for segment in segments.load(self._directory)))
        with self._lock:
            found = found.without(self._removed_early)
            buffer = self._state.buffer
            self._state = replace(found, buffer={content: buffer[content] for content in found.missing([*buffer])})
            self._next = found.sealed[-1].last + 1 if found.sealed else 0
            self._loaded = True

    def missing(self, contents: Sequence[ContentId]) -> list[ContentId]:
        """The contents that were never added; a merge forgets removed ones, which then count among them."""
        return self._state.missing(contents)

    def add(self, rows: Sequence[tuple[ContentId, Words]]) -> None:
        """Make contents findable by their words. A known content is skipped, since its words never change."""
        words_of = dict(rows)
        with self._lock:
            missing = self._state.missing(list(words_of))
            fresh = dict(zip(missing, _distinct([words_of[content] for content in missing]), strict=True))
            self._state = replace(self._state, buffer=self._state.buffer | fresh)
            if self._loaded and len(self._state.buffer) >= _SEAL_AT:
                self._seal()
                self._start_merge()

    def remove(self, contents: Sequence[ContentId]) -> None:
        """Remove contents; unknown ones are skipped. Their ids are never used again."""
        with self._lock:
            self._state = self._state.without(contents)
            if not self._loaded:
                self._removed_early += contents

    def search(
        self,
        words: Words,
        limit: int,
        *,
        is_rare: bool = False,
        is_crowded: bool = False,
        without: Set[ContentId] = frozenset(),
        admits: Callable[[ContentId], bool] = lambda _: True,
    ) -> list[ContentId]:
        """At most ``limit`` contents that likely show the queried picture, upright or mirrored, likeliest first;
        none of those ``without``, such as the queried picture itself, beside which all others seem unlikely; only
        those it ``admits``, of contents that do not stand out among the best LOOKED_THROUGH.

        Returns the best few and all outliers; of what ``is_rare``, such as a negative, the best one and outliers. With
        too few contents to estimate chance, all that share a word, and also where it ``is_crowded`` by pictures of one
        template, which chance seems to explain."""
        always = limit if is_crowded else 1 if is_rare else ALWAYS
        return self._state.likeliest(words, limit, is_rare=is_rare, always=always, without=without, admits=admits)

    def compact(self) -> None:
        """Rewrite the segments if any has words of removed contents. Raises OSError."""
        with self._lock:
            done = None if self._closed else self._executor.submit(self._merge_removed)
        if done is not None:
            done.result()

    def close(self) -> None:
        """Seal the buffer and wait for a running merge."""
        with self._lock:
            self._closed = True
            if self._loaded and self._state.buffer:
                self._seal()
        self._executor.shutdown()

    def __contains__(self, content: object) -> bool:
        return isinstance(content, int) and self._state.has(content)

    def _seal(self) -> None:
        """Turn the buffer into a segment: in memory if the disk refuses, and then the next start reads the contents
        from the store again."""
        part = Segment.of(self._next, self._state.buffer)
        try:
            sealed = segments.merged([part], self._directory)
        except OSError as error:
            logger.warning("words_not_written", reason=str(error))
            sealed = segments.merged([part], None)
        self._next += 1
        self._state = _State((*self._state.sealed, sealed))

    def _start_merge(self) -> None:
        """Start a merge in the background, if there is one to do. The caller holds the lock."""
        if self._state.mergeable() and not self._closed and (self._merging is None or self._merging.done()):
            self._merging = self._executor.submit(self._merge_small)

    def _merge_small(self) -> None:
        try:
            self._merge(self._state.mergeable())
        except OSError as error:  # searches take longer until the next full buffer starts another try
            logger.warning("words_not_merged", reason=str(error))

    def _merge_removed(self) -> None:
        parts = self._state.sealed
        if not all(part.alive.all() for part in parts):
            self._merge(parts)

    def _merge(self, parts: Sequence[Segment]) -> None:
        """Replace segments by a single one. Runs on the executor's only thread, so no other merge has these parts."""
        if not parts:
            return
        made = segments.merged(parts, self._directory)
        with self._lock:
            self._state = self._state.merged(made)
            self._merging = None
            self._start_merge()
        for part in (*parts, made):
            # A single part is replaced by a file of the same name; a file without contents is not kept.
            if not len(made.contents) or (part.first, part.last) != (made.first, made.last):
                segments.delete(part, self._directory)


@dataclass(frozen=True, eq=False)
class _State:
    """A snapshot of the index; replaced as a whole, never changed. Searches share what is made of its buffer."""

    sealed: tuple[Segment, ...] = ()
    """by growing number"""
    buffer: dict[ContentId, Words] = field(default_factory=dict)

    def missing(self, contents: Sequence[ContentId]) -> list[ContentId]:
        asked = np.array([content for content in contents if content not in self.buffer], np.int64)
        for segment in self.sealed:
            asked = asked[~segment.find(asked)[1]]
        return list(map(int, asked))

    def has(self, content: ContentId) -> bool:
        found = [(segment, *segment.find(np.array([content]))) for segment in self.sealed]
        return content in self.buffer or any(known[0] and s.alive[rows[0]] for s, rows, known in found)

    def without(self, contents: Sequence[ContentId]) -> _State:
        gone = np.array(contents, np.int64)
        buffer = {content: words for content, words in self.buffer.items() if content not in set(contents)}
        return _State(tuple(segment.without(gone) for segment in self.sealed), buffer)

    def mergeable(self) -> tuple[Segment, ...]:
        """The oldest segment with fewer than twice the rows of all newer ones, and the newer ones; none if no segment
        is that small.

        Every segment is compared: while 20 rows are merged, 8 and 4 may be sealed behind them. 8 is large enough for 4,
        but 20 is too small for 8 + 4."""
        newer = 0
        start = None
        for place in reversed(range(len(self.sealed))):
            rows = len(self.sealed[place].contents)
            if rows < 2 * newer:
                start = place
            newer += rows
        return () if start is None else self.sealed[start:]

    def merged(self, made: Segment) -> _State:
        """The state with ``made`` in place of its parts, without the contents that were removed during the merge."""
        sealed = []
        for segment in self.sealed:
            if not made.first <= segment.first <= made.last:
                sealed.append(segment)
            else:
                made = made.without(segment.contents[~segment.alive])
        if len(made.contents):  # all may be removed
            sealed = sorted([*sealed, made], key=lambda segment: segment.first)
        return replace(self, sealed=tuple(sealed))

    @cached_property
    def _read_buffer(self) -> _Buffer:
        return _Buffer(self.buffer)

    def likeliest(
        self,
        asked: Words,
        limit: int,
        *,
        is_rare: bool,
        always: int,
        without: Set[ContentId],
        admits: Callable[[ContentId], bool],
    ) -> list[ContentId]:
        """The ``limit`` contents with most votes of these words, or of the mirror image's: the same, bytes swapped; the
        first so many ``always``, the others where they stand out."""
        parts: list[_Part] = [self._read_buffer, *self.sealed]
        distinct = np.unique(asked)
        sides = [words.astype(np.intp) for words in (distinct, np.sort(distinct.byteswap()))]
        weights = [_weights(words, parts) for words in sides]
        of_parts: list[NDArray[np.float64]] = []
        for part in parts:
            votes = np.maximum(*(part.votes(words, given) for words, given in zip(sides, weights, strict=True)))
            votes *= part.scale
            of_parts.append(votes)
        step = max(1, sum(map(len, of_parts)) // _SAMPLE)
        sample = np.concatenate([votes[::step] for votes in of_parts])
        found = _best(parts, of_parts, limit, without)
        most = -found[0][0] if found else 0.0
        bar = _bar(sample, RARE_STANDS_OUT) if is_rare else _bar(sample[sample < most / 2], STANDS_OUT)
        size = limit
        while True:
            chosen: list[ContentId] = []
            for least, content in found:
                if len(chosen) == limit or (-least < bar and len(chosen) >= always):
                    return chosen
                if admits(content):
                    chosen.append(content)
            if len(chosen) == limit or len(found) < size or (-found[-1][0] < bar and size >= LOOKED_THROUGH):
                return chosen
            size *= _GROWTH
            found = _best(parts, of_parts, size, without)


def _best(
    parts: Sequence[_Part], of_parts: Sequence[NDArray[np.float64]], limit: int, without: Set[ContentId]
) -> list[tuple[float, ContentId]]:
    """The ``limit`` contents with most votes, as (minus the votes, content)."""
    found: list[tuple[float, ContentId]] = []
    for part, votes in zip(parts, of_parts, strict=True):
        best = _largest(votes, limit + len(without))
        found += zip((-votes[best]).tolist(), part.contents[best].tolist(), strict=True)
    return sorted(each for each in found if each[1] not in without)[:limit]


class _Buffer:
    """Contents before they are sealed, with the interface of a segment. Reading all words takes less than sorting."""

    def __init__(self, rows: dict[ContentId, Words]) -> None:
        self.contents = np.array([*rows], np.int64)
        counts = np.array([len(words) for words in rows.values()], np.int64)
        self.scale = segments.scale(counts)
        self._words = np.concatenate([np.empty(0, np.uint16), *rows.values()])
        self._rows = np.repeat(np.arange(len(rows), dtype=np.int32), counts)
        self._frequencies = np.bincount(self._words, minlength=segments.WORDS)

    def frequencies(self, words: NDArray[np.intp]) -> NDArray[np.int64]:
        return self._frequencies[words]

    def votes(self, words: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        is_asked = np.zeros(segments.WORDS, np.bool_)
        is_asked[words] = True
        found = np.flatnonzero(is_asked[self._words])
        weight_of = np.zeros(segments.WORDS)
        weight_of[words] = weights
        votes = np.bincount(self._rows[found], weight_of[self._words[found]], minlength=len(self.contents))
        return votes.astype(np.float64, copy=False)


_Part: TypeAlias = Segment | _Buffer


def _distinct(given: Sequence[Words]) -> list[Words]:
    """The words of each content, sorted, each once. All are sorted as the rows of a matrix, in a third of the time."""
    counts = np.array([len(words) for words in given], np.int64)
    row = np.repeat(np.arange(len(given)), counts)
    together = np.concatenate([np.empty(0, np.uint16), *given])
    starts = np.cumsum(counts) - counts
    matrix = np.zeros((len(given), counts.max(initial=0)), np.uint16)
    matrix[counts > 0] = together[starts[counts > 0], np.newaxis]  # the room behind a row's words has its first again
    matrix[row, np.arange(len(together)) - starts[row]] = together
    matrix.sort(axis=1)
    is_first = np.ones(matrix.shape, np.bool_)
    is_first[:, 1:] = matrix[:, 1:] != matrix[:, :-1]
    is_first[counts == 0] = False
    ends = np.cumsum(is_first.sum(axis=1)).tolist()
    distinct: Words = matrix[is_first]
    return [distinct[start:end] for start, end in pairwise([0, *ends])]


def _weights(words: NDArray[np.intp], parts: Sequence[_Part]) -> NDArray[np.float64]:
    """The weight of each word: larger for rarer words."""
    rows = sum(len(part.contents) for part in parts)
    having = np.sum([part.frequencies(words) for part in parts], axis=0)
    return np.asarray(np.log1p(rows / np.maximum(having, 1)), np.float64)


def _bar(chance: NDArray[np.float64], stands_out: float) -> float:
    """The votes from which a content stands out from those that chance gives."""
    return float(chance.mean() + stands_out * chance.std()) if len(chance) >= _CHANCE_MIN else 0.0


def _largest(votes: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """The indices of the ``limit`` largest positive votes, largest first.

    At least ``limit`` votes reach the limit-th largest of the blocks' maxima. Of these alone the limit-th is looked up,
    and what reaches it is sorted."""
    if not len(votes):
        return np.empty(0, np.intp)
    largest = np.sort(np.maximum.reduceat(votes, np.arange(0, len(votes), _BLOCK)))[::-1]
    bar = largest[limit - 1] if len(largest) >= limit else 0.0
    reach = np.flatnonzero((votes >= bar) & (votes > 0))
    if len(reach) > limit:
        reach = reach[votes[reach] >= np.partition(votes[reach], -limit)[-limit]]
    return reach[np.argsort(-votes[reach], kind="stable")[:limit]]

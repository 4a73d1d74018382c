"""Rows to index, and the answer that every index owes: one pair at a time, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.base import Index
from shazimd.index.cascade import CascadeIndex
from shazimd.search.score import score
from shazimd.text import HASHES
from shazimd.types import ContentId, Hit, Similarities, Weights

Row: TypeAlias = tuple[ContentId, Signals]
Make: TypeAlias = Callable[[], Index]


def unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(values))
    return (values / length if length else values).astype(np.float32)


def random_signals(random: np.random.Generator, width: int) -> Signals:
    """Like a photo's: bits at random, and a vector that is not negative, as features behind a ReLU are."""
    hashes = tuple(int(bits) for bits in random.integers(0, 2**64, len(HASHES), np.uint64))
    return Signals(hashes, unit(np.abs(random.normal(size=width))))


def edited(random: np.random.Generator, signals: Signals, strength: float) -> Signals:
    """A copy of a picture: some bits flipped, the vector moved."""
    flips = [int(np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 64, 4, np.uint64))) for _ in HASHES]
    hashes = tuple((bits or 0) ^ flip for bits, flip in zip(signals.hashes, flips, strict=True))
    assert signals.fv is not None
    moved = signals.fv + strength * random.normal(size=len(signals.fv)) / math.sqrt(len(signals.fv))
    return Signals(hashes, unit(moved))


def library(count: int, width: int = 24, seed: int = 1) -> list[Row]:
    """Rows under growing ids, every fourth an edited copy of an earlier one."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(count):
        original = rows[int(random.integers(0, number))][1] if number % 4 == 3 else random_signals(random, width)
        rows.append((number + 1, edited(random, original, 0.3) if number % 4 == 3 else original))
    return rows


def brute_force(rows: Sequence[Row], query: Signals, weights: Weights, threshold: float) -> list[Hit]:
    """The answer by definition: exact cosines of what is kept, then ``search.score``."""
    hits = []
    for content, signals in rows:
        alike = map(_hash_similarity, query.hashes, signals.hashes)
        pair = Similarities([*alike, _cosine(query.fv, signals.fv)])
        if (value := score(pair, weights)) >= threshold:
            hits.append(Hit(content, value, pair))
    return sorted(hits, key=lambda hit: (-hit.score, hit.content))


def kept(signals: Signals) -> Signals:
    """A row as an index keeps it: the vector rounded to float16."""
    fv = None if signals.fv is None else signals.fv.astype(np.float16).astype(np.float32)
    return Signals(signals.hashes, fv)


def _hash_similarity(a: int | None, b: int | None) -> float | None:
    return None if a is None or b is None else 1 - (a ^ b).bit_count() / 64


def _cosine(query: NDArray[np.float32] | None, row: NDArray[np.float32] | None) -> float | None:
    if query is None or row is None:
        return None
    rounded = [round(q * 2**28) for q in query.tolist()]
    kept = [int(v * 2**24) for v in row.astype(np.float16).tolist()]
    return min(1.0, float(sum(q * v for q, v in zip(rounded, kept, strict=True)) / 2**52))


class Contents:
    """What an index needs to know of a store, as a list."""

    def __init__(self, rows: Sequence[Row] = (), removed: Sequence[ContentId] = ()) -> None:
        self.rows, self.removed = dict(rows), list(removed)
        self.read: list[ContentId] = []
        """the contents that were given out, in order"""

    def signals(self, _model: str | None, after: ContentId = 0) -> Iterator[Row]:
        for content, signals in sorted(self.rows.items()):
            if content > after:
                self.read.append(content)
                yield content, signals

    def without_vector(self, _model: str, _after: ContentId = 0) -> Iterator[ContentId]:
        return (content for content, signals in sorted(self.rows.items()) if signals.fv is None)

    def removals(self, after: int = 0) -> Iterator[tuple[int, ContentId]]:
        return iter(list(enumerate(self.removed, start=1))[after:])

    def fingerprint(self, content: ContentId, model: str | None) -> Fingerprint:
        return Fingerprint(kept(self.rows[content]), model, 1, 1, "PNG")


class Rewritten(CascadeIndex):
    """Rewritten before each search, with a basis learned from however few rows, so that bounds prune."""

    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        self.compact()
        return super().search(queries, weights, threshold, limit)

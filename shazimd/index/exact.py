"""The exact score of rows: the source of every index's final scores.

A cosine summed in float32 depends on the order of the sum, so two programs would disagree in the last bits, and so
at the threshold and in the ties. Here every order gives the same bits. Rows are float16, multiples of 2**-24; the
query is rounded to multiples of 2**-28, which moves no cosine by more than 2**-29 * sqrt(d) < 1e-7. Every product is
then a multiple of 2**-52, every partial sum is at most |q| |v| < 2 (Cauchy-Schwarz on the terms summed), and float64
holds all such numbers exactly. So the sum is exact for every BLAS, block size and batch, and the rest of the score
repeats ``search.score``, operation by operation, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shazimd.fingerprint import Signals
from shazimd.text import HASHES, SIGNALS
from shazimd.types import HASH_BITS, ContentId, Hit, Similarities, Weights, check_threshold, check_weights

LENGTH_MAX = 1.01
"""Unit length with the rounding of float16 and float32; the exactness of the sums rests on this maximum."""

FRACTION_BITS = 28

Bools: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = NDArray[np.int64]
Column: TypeAlias = NDArray[np.uint64]
"""[n]: one hash of n rows; 0 where missing"""
Halves: TypeAlias = NDArray[np.float16]
Doubles: TypeAlias = NDArray[np.float64]


class Rows(NamedTuple):
    """n rows with all their columns."""

    ids: Ids
    """int64 [n]"""
    hashes: tuple[Column, ...]
    fv: Halves
    """float16 [n, d]; 0 where missing"""
    has: Bools
    """bool [n, number of signals]: the row has the signal"""

    def part(self, which: slice | Bools | NDArray[np.intp]) -> Rows:
        """Some of the rows; a view for a slice."""
        hashes = tuple(column[which] for column in self.hashes)
        return Rows(self.ids[which], hashes, self.fv[which], self.has[which])

    def write(self, start: int, rows: Rows) -> None:
        """Overwrite the rows from ``start`` on; vectors stay 0 if ``rows`` have no width yet."""
        stop = start + len(rows.ids)
        self.ids[start:stop] = rows.ids
        for column, values in zip(self.hashes, rows.hashes, strict=True):
            column[start:stop] = values
        self.has[start:stop] = rows.has
        if rows.fv.size:
            self.fv[start:stop] = rows.fv


class Asked(NamedTuple):
    """A query, upright or in several orientations with one vector, in the form of the comparison."""

    hashes: tuple[Column, ...]
    """uint64 [orientations] each; 0 for a missing one"""
    fv: Doubles
    """float64 [d], multiples of 2**-28; [0] when missing"""
    has: Bools
    """bool [number of signals]"""


class Scored(NamedTuple):
    """Rows with their exact scores."""

    ids: Ids
    scores: Doubles
    """float64 [n]"""
    similarities: Doubles
    """float64 [n, number of signals]; NaN for a signal missing on either side"""

    def at_least(self, threshold: float) -> Scored:
        """The rows with score >= threshold."""
        keep = self.scores >= threshold
        return Scored(self.ids[keep], self.scores[keep], self.similarities[keep])


def check_search(weights: Weights, threshold: float, limit: int | None) -> None:
    """Raise ValueError for invalid weights, threshold or limit."""
    check_weights(weights)
    check_threshold(threshold)
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}, expected a number >= 0, or none")


def check_vector(fv: NDArray[np.float32], width: int | None) -> None:
    """Raise ValueError unless the vector is finite, at most of unit length, and of the index's width (None: any)."""
    _check_width(fv, width)
    _check_lengths(fv[np.newaxis])


def _check_width(fv: NDArray[np.float32], width: int | None) -> None:
    if fv.ndim != 1 or (width is not None and len(fv) != width):
        raise ValueError(f"vector has shape {list(fv.shape)}, expected {[width or 'any']}")


def _check_lengths(fv: NDArray[np.float32]) -> None:
    wide = fv.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    if not (lengths <= LENGTH_MAX).all():
        worst = lengths[~(lengths <= LENGTH_MAX)][0]
        raise ValueError(f"vector has length {worst:g}, expected 1")


def ask(signals: Signals, width: int | None, turned: Sequence[Signals] = ()) -> Asked:
    """Convert a query for rows of this width; ``turned``: its other orientations, with the same signals and vector.
    Raises ValueError for an invalid vector."""
    fv = np.zeros(0)
    if signals.fv is not None:
        check_vector(signals.fv, width)
        fv = np.rint(np.ldexp(signals.fv.astype(np.float64), FRACTION_BITS)) / 2**FRACTION_BITS
    has = np.array([*(bits is not None for bits in signals.hashes), signals.fv is not None])
    hashes = zip(*(each.hashes for each in (signals, *turned)), strict=True)
    return Asked(tuple(np.array([bits or 0 for bits in own], np.uint64) for own in hashes), fv, has)


def score(asked: Asked, rows: Rows, weights: Weights) -> Scored:
    """The exact scores of rows, equal bit for bit to ``search.score`` of the exact similarities.

    Of several orientations the best counts, the first of equal ones."""
    common = rows.has & asked.has
    similarities = _similarities(asked, rows)
    total, weight = np.zeros(similarities[0].shape), np.zeros(len(rows.ids))
    for signal, similarity in enumerate(similarities):
        counted = np.where(common[:, signal], float(weights[signal]), 0.0)
        total += counted * similarity
        weight += counted
    scores = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    best, every = scores.argmax(axis=0), np.arange(len(rows.ids))
    own = np.column_stack([each[best, every] for each in similarities])
    own[~common] = np.nan
    return Scored(rows.ids, scores[best, every], own)


def rank(found: Sequence[Scored], limit: int | None) -> list[Hit]:
    """Hits, best first, ties by growing id, at most ``limit``."""
    if not found:
        return []
    ids, scores, similarities = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((ids, -scores))[:limit]
    return [
        Hit(content, one, Similarities(None if math.isnan(s) else s for s in own))
        for content, one, own in zip(
            ids[order].tolist(), scores[order].tolist(), similarities[order].tolist(), strict=True
        )
    ]


def rows_of(pairs: Sequence[tuple[ContentId, Signals]], width: int | None) -> Rows:
    """Rows as an index keeps them: vectors rounded to float16. Raises ValueError for an invalid vector."""
    width = width_of((signals for _, signals in pairs), width)
    rows = empty_rows(len(pairs), width or 0)
    rows.ids[:] = [content for content, _ in pairs]
    hashes = [signals.hashes for _, signals in pairs]
    for number, column in enumerate(rows.hashes):
        column[:] = [each[number] or 0 for each in hashes]
        rows.has[:, number] = [each[number] is not None for each in hashes]
    rows.has[:, -1] = [signals.fv is not None for _, signals in pairs]
    vectors = [signals.fv for _, signals in pairs if signals.fv is not None]
    for fv in vectors:
        _check_width(fv, width)
    if vectors:
        together = np.stack(vectors)
        _check_lengths(together)
        rows.fv[rows.has[:, -1]] = together
    return rows


def width_of(signals: Iterable[Signals], width: int | None) -> int | None:
    """The width of an index after adding these: its own, else the first vector's, else None."""
    vectors = (one.fv for one in signals if one.fv is not None)
    return width if width is not None else next((len(fv) for fv in vectors), None)


def empty_rows(count: int, width: int) -> Rows:
    """``count`` rows without any signal."""
    return Rows(
        np.zeros(count, np.int64),
        tuple(np.zeros(count, np.uint64) for _ in HASHES),
        np.zeros((count, width), np.float16),
        np.zeros((count, len(SIGNALS)), np.bool_),
    )


def signals_of(rows: Rows, row: int) -> Signals:
    """A row as a query for similar rows."""
    *has_hashes, has_fv = rows.has[row].tolist()
    hashes = tuple(int(column[row]) if has else None for column, has in zip(rows.hashes, has_hashes, strict=True))
    return Signals(hashes, rows.fv[row].astype(np.float32) if has_fv else None)


def widened(halves: Halves) -> Doubles:
    """float16 [n, d] (finite, C order) as float64, three times as fast as ``astype``, which converts number by number.

    The bits move to float32's sign, exponent and fraction; the exponent is then 112 too small."""
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~0x70000000  # clears the exponent bits that sign extension to 32 bits has set
    floats = bits.view(np.float32)
    floats *= np.float32(2.0**112)
    return floats.astype(np.float64)


def _similarities(asked: Asked, rows: Rows) -> list[Doubles]:
    """[orientations, n] for each signal."""
    both = zip(rows.hashes, asked.hashes, strict=True)
    similarities = [1 - np.bitwise_count(column ^ own[:, np.newaxis]) / HASH_BITS for column, own in both]
    cosines = np.zeros(len(rows.ids))
    if asked.has[-1] and rows.has[:, -1].any():
        cosines = np.minimum(1.0, widened(rows.fv) @ asked.fv)
    return [*similarities, np.broadcast_to(cosines, similarities[0].shape)]

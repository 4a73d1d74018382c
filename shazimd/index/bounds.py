"""Upper bounds of a score from few bytes of a row: with these a search skips most rows unread.

Weights here are divided by their sum: a score is h + w cos, where h are the similarities of the hashes times their
weights, and w is the vector's weight.

1. *Hashes* (8 bytes each). cos <= 1, so a row needs h >= threshold - w.

2. *Coarse* (64 bytes). Let P be a k x d matrix with M = P'P <= I (no eigenvalue above 1). For a query q and a row v
       <q, v> = <Pq, Pv> + <q, (I - M) v>
              <= <Pq, Pv> + sqrt(|q|^2 - |Pq|^2) sqrt(|v|^2 - |Pv|^2)
   since I - M is positive semidefinite: Cauchy-Schwarz for the form <x, (I - M) y>, whose <x, (I - M) x> is
   |x|^2 - |Px|^2. P need not be orthonormal, and P = 0 is a valid, useless choice: a poor P costs time, never
   rows. The first 15 rows of P make 15 numbers of a row, and the root, its *rest*, is the 16th.

3. *Finer levels* (64 bytes each). Each level takes 56 further rows of P, and keeps their products as x = n s + e: whole
   numbers n times steps s, and an error e. With the query's products y,
       <y, x> = <y, n s> + <y, e> <= <y, n s> + |y| |e|
   A row keeps its own |e| (measured after clipping at +-127, which only makes |e| larger), and its rest beyond this
   level, which replaces the rest before.

4. Remaining rows are scored exactly (``exact``).

P are nearly the leading eigenvectors of the uncentred second moments of the rows (the best possible k for the mean of
|Pv|^2: Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1, 1936), times
1 - 1e-9, which keeps M <= I under float64 rounding. Non-negative features have a large common part, which the first of
them takes up whole.

Rounding. Pv is summed in float64 and kept as float32, rests and |e| are rounded up; the query's side is float32; then
at most 190 float32 products are summed, an error below 190 * 2**-24 * |q| |v| < 1.2e-5 (Higham, "Accuracy and Stability
of Numerical Algorithms", section 3.1), and a few sums of numbers below 2 follow, 5e-7 in all. ``SLACK`` is about twice
that, and every comparison with a bound allows for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shazimd.index.exact import Asked, Bools, Doubles, Halves
from shazimd.types import HASH_BITS, Weights

COARSE = 15
LEVELS, NUMBERS = 3, 56
DIMENSIONS = COARSE + LEVELS * NUMBERS
ENDS = COARSE + NUMBERS * np.arange(LEVELS + 1)
"""number of rows of P read with the coarse part and with each level"""
STEPS = 127
_ROUNDS, _SPARE = 3, 64
"""Of the subspace iteration, and dimensions beyond those that are kept."""
SLACK = 2.5e-5
SHRINK = 1 - 1e-9
HASH_UNITS = 1000
"""Weights of the hashes are whole numbers with this sum: a weighted distance then fits 16 bits."""

TINY = 1e-290
"""Weights below this lose digits in float64 and their scores are meaningless: computed, never bounded."""

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The P above, and the steps."""

    projection: Doubles
    """float64 [DIMENSIONS, d]; rows of zeros if d is smaller"""
    steps: Doubles
    """float64 [LEVELS, NUMBERS]"""
    learned_from: int
    """number of rows in the index at the time; 0 for the useless P = 0"""

    @classmethod
    def none(cls, width: int) -> Basis:
        return cls(np.zeros((DIMENSIONS, width)), np.ones((LEVELS, NUMBERS)), 0)

    @classmethod
    def learn(cls, sample: Halves, known: int) -> Basis:
        """The basis that fits a sample [m, d] of ``known`` rows best."""
        vectors = sample.astype(np.float32)
        leading = _leading(vectors)
        projection = np.zeros((DIMENSIONS, sample.shape[1]))
        projection[: len(leading)] = SHRINK * leading
        tail = vectors @ projection[COARSE:].T.astype(np.float32)
        largest = np.abs(tail).max(axis=0, initial=0).astype(np.float64)
        steps = np.where(largest > 0, largest, 1.0) / STEPS
        return cls(projection, steps.reshape(LEVELS, NUMBERS), known)

    def encode(self, fv: Halves) -> tuple[Floats, list[Bytes]]:
        """The parts of rows [n, d] for the bounds: coarse float32 [n, 16], and uint8 [n, 64] for each level.

        A row of a level is 56 whole numbers (int8), then |e| and the rest (float32)."""
        vectors = fv.astype(np.float64)
        projected = vectors @ self.projection.T
        rests = _rests(vectors, projected)
        coarse = np.column_stack([projected[:, :COARSE].astype(np.float32), rests[:, 0]])
        return coarse, [self._level(level, projected, rests) for level in range(LEVELS)]

    def _level(self, level: int, projected: Doubles, rests: Floats) -> Bytes:
        own = projected[:, ENDS[level] : ENDS[level + 1]]
        numbers = np.clip(np.rint(own / self.steps[level]), -STEPS, STEPS)
        errors = np.linalg.norm(own - numbers * self.steps[level], axis=1)
        floats = np.column_stack([_up(errors), rests[:, level + 1]])
        return np.hstack([numbers.astype(np.int8).view(np.uint8), floats.view(np.uint8)])


class Level(NamedTuple):
    """A query's side of one level."""

    numbers: Floats
    """float32 [NUMBERS], times w and the steps"""
    error: np.float32
    """times w: the factor of a row's |e|"""
    rest: np.float32
    """times w: the factor of a row's rest"""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """A query with weights, prepared for the bounds of rows with the same signals."""

    hash_weights: tuple[int, ...]
    """of the distances; their sum is at most HASH_UNITS"""
    hash_unit: float
    """loss of score per unit of weighted distance"""
    hash_share: float
    """sum of the weights of the hashes; infinite if there is no bound and every row may reach every score"""
    cosine_share: float
    """w; 0 if no vector counts"""
    coarse: Floats
    """float32 [16], times w"""
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, asked: Asked, weights: Weights, has: Bools, basis: Basis) -> Bounds:
        """The bounds of rows with these signals (bool [number of signals]), encoded with ``basis``."""
        counted = [float(w) if both else 0.0 for w, both in zip(weights, has & asked.has, strict=True)]
        total = sum(counted)
        *hashes, vector = (w / total if total > TINY else 0.0 for w in counted)
        together = sum(hashes)
        share = together if total > TINY else np.inf
        units = tuple(int(HASH_UNITS * (w / together)) if w else 0 for w in hashes)
        coarse, levels = _query_side(asked.fv if vector else np.zeros(basis.projection.shape[1]), basis, vector)
        return cls(units, together / (HASH_UNITS * HASH_BITS), share, vector, coarse, levels)

    def furthest(self, threshold: float) -> int:
        """Maximum weighted distance of hashes (in units) of a row that reaches the threshold; may be below 0."""
        room = self.hash_share + self.cosine_share - threshold + SLACK
        return int(room / self.hash_unit) + 1 if room < self.hash_share else HASH_UNITS * HASH_BITS


def _leading(vectors: Floats) -> Doubles:
    """Nearly the leading eigenvectors of the uncentred second moments of rows [m, d], as rows, largest first: by
    subspace iteration (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011,
    algorithm 4.4), which starts from rows rather than from random numbers.

    Of 1,024 rows with 1,280 numbers in a quarter of the time of all eigenvectors, for .04 % less of the mean |Pv|^2."""
    moments = vectors.T @ vectors
    size = min(DIMENSIONS + _SPARE, *vectors.shape)
    spanned = vectors[np.linspace(0, len(vectors) - 1, size).astype(np.intp)].T
    for _ in range(_ROUNDS):
        spanned = np.linalg.qr(moments @ spanned)[0]
    axes = np.linalg.qr(spanned.astype(np.float64))[0]  # M <= I needs them orthonormal under float64 rounding
    _, turns = np.linalg.eigh(axes.T @ (moments @ axes.astype(np.float32)))
    leading: Doubles = (axes @ turns).T[::-1][:DIMENSIONS]
    return leading


def _query_side(fv: Doubles, basis: Basis, weight: float) -> tuple[Floats, tuple[Level, ...]]:
    projected = basis.projection @ fv
    rests = weight * _rests(fv[np.newaxis], projected[np.newaxis])[0]
    coarse = np.append(weight * projected[:COARSE], rests[0]).astype(np.float32)
    own = weight * projected[COARSE:].reshape(LEVELS, NUMBERS)
    numbers = (own * basis.steps).astype(np.float32)
    errors = np.linalg.norm(own, axis=1).astype(np.float32)
    return coarse, tuple(map(Level, numbers, errors, rests[1:].astype(np.float32)))


def _rests(vectors: Doubles, projected: Doubles) -> Floats:
    """sqrt(|v|^2 - |Pv|^2), rounded up, for the first rows of P up to each of ENDS: [n, LEVELS + 1].

    1e-12 covers the rounding of the difference."""
    read = np.cumsum(np.square(projected), axis=1)[:, ENDS - 1]
    beyond = np.square(vectors).sum(axis=1, keepdims=True) - read
    return _up(np.sqrt(np.maximum(0, beyond) + 1e-12))


def _up(values: Doubles) -> Floats:
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))

"""The map between two pictures that most of their local features agree on.

Features are matched by their bits. Each match proposes a map by itself, for a feature has a place, a size and an
angle (Lowe, IJCV 2004, section 7); the proposal that most matches agree with is refined to an affine map by least
squares. All proposals are tried, so there is no chance in it: the same pair has the same answer every time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import scale_of
from shazimd.imaging.features import SIDE, Features

_FIT_MIN = 3
"""Matches in different places that a map is fitted to at least."""
_GROWTH = 3
"""Refined maps have at most so many times the inliers of the best proposal, nearly always."""
_RATIO = 0.85
"""A match counts where the second best candidate is this much farther in bits (Lowe's ratio test)."""
_TOLERANCE = 4.0
"""Pixels of the candidate's frame (256) by which a feature may miss the place that the map says."""
_OCTAVE, _RADIAN = 32, 128 / math.pi
"""Units of packed sizes and angles."""
_TURN_TOLERANCE = math.floor(0.5 * _RADIAN)
_OCTAVE_TOLERANCE = math.floor(0.8 * _OCTAVE)
"""Units by which a feature may differ from the proposal: half a radian, and .8 octaves."""
_SCALE_RANGE = 1 / 8, 8.0
_STRETCH_MAX = 2.0
"""Ratio of the two scales of the map: an edit stretches by less, a chance map seldom does."""
_BITS, _FARTHER = 128, 255
"""Bits of a feature, and more than two can differ in."""
_CELL = 3.0
"""Features nearer than this, in pixels, count as one: SIFT gives a corner several angles and sizes."""
_ON_A_LINE = 1e-6
"""Determinant of the scatter of points on one line, which give no affine map."""
_CELLS_MAX = 1 << 20
"""More than a picture has in a row."""
_ROUNDS = 4

Affine = NDArray[np.float64]
"""[2, 3]: pixels of the query's frame (mirrored, where that is said) -> pixels of the candidate's frame."""


class View(NamedTuple):
    """A query, upright or mirrored, or a candidate, ready to be matched again and again."""

    features: Features
    bits: NDArray[np.uint64]
    """[n, 2]"""
    octaves: NDArray[np.int16]
    """[n]: sizes in 1/32 octave, as they are packed"""
    turns: NDArray[np.uint8]
    """[n]: angles in 1/256 of a turn, as they are packed"""


class Map(NamedTuple):
    inliers: int
    affine: Affine
    miss: float
    """median distance of the inliers from where the map puts them, pixels of the candidate's frame; of a query
    smaller than a frame it is reduced in proportion, for its features are placed no finer than its own pixels"""


def view(features: Features) -> View:
    """Features, ready to be matched."""
    bits = np.packbits(np.ascontiguousarray(features.bits), axis=1).view(np.uint64)
    octaves = np.rint(_OCTAVE * np.log2(features.sizes)).astype(np.int16)
    return View(features, bits, octaves, np.rint(_RADIAN * features.angles).astype(np.int16).astype(np.uint8))


def best_map(query: View, candidate: View, more_than: int = 2) -> Map | None:
    """The map on which most features agree; None if no three do, or if not ``more_than`` so many match."""
    asked, known = _matches(query.bits, candidate.bits)
    if len(asked) <= max(2, more_than):
        return None
    agreeing = _consensus(query, candidate, asked, known)
    number = agreeing.sum()
    if number < _FIT_MIN or _GROWTH * number < more_than:
        return None
    a, b = query.features.points[asked], candidate.features.points[known]
    found = _refined(a.astype(float), b.astype(float), agreeing)
    smaller = min(1.0, max(query.features.width, query.features.height) / SIDE)
    return found and found._replace(miss=found.miss * smaller)


def inverted(found: Map | None) -> Map | None:
    """A map from the candidate to the query as one from the query to the candidate."""
    if found is None:
        return None
    affine = np.asarray(cv2.invertAffineTransform(found.affine), np.float64)
    return Map(found.inliers, affine, found.miss * scale_of(affine))


def _matches(query: NDArray[np.uint64], candidate: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(query's, candidate's) numbers of the features that match, by Hamming distance."""
    if len(query) < 2 or len(candidate) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    number, (upper, lower) = len(candidate), np.ascontiguousarray(query.T)
    distances = np.bitwise_count(candidate[:, :1] ^ upper)
    distances += np.bitwise_count(candidate[:, 1:] ^ lower)
    # Each distance with the candidate's number behind it: the least has both, in less time than argmin takes.
    kind = np.min_scalar_type((_BITS + 1) * number)
    numbered = distances.astype(kind) * kind.type(number) + np.arange(number, dtype=kind)[:, np.newaxis]
    first, nearest = np.divmod(numbered.min(axis=0), kind.type(number))
    distances[nearest, np.arange(len(query))] = _FARTHER
    kept = np.flatnonzero(first < _RATIO * distances.min(axis=0).astype(np.float32))
    return kept, nearest[kept].astype(np.intp)


def _consensus(query: View, candidate: View, asked: NDArray[np.intp], known: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which matches agree with the proposal that most agree with.

    All pairs of matches have their places compared: products of matrices take less than picking those that are near in
    size and angle."""
    octaves = candidate.octaves[known] - query.octaves[asked]
    turns = candidate.turns[known] - query.turns[asked]
    near = (turns[:, np.newaxis] - turns + np.uint8(_TURN_TOLERANCE)) <= 2 * _TURN_TOLERANCE
    near &= np.abs(octaves[:, np.newaxis] - octaves) <= _OCTAVE_TOLERANCE
    turned = candidate.features.angles[known] - query.features.angles[asked]
    a, b = query.features.points[asked].astype(float), candidate.features.points[known].astype(float)
    size, ones = np.exp2(octaves / np.float32(_OCTAVE)), np.ones(len(a))
    right, down = size * np.cos(turned), size * np.sin(turned)
    x, y = right * a[:, 0] - down * a[:, 1] - b[:, 0], down * a[:, 0] + right * a[:, 1] - b[:, 1]
    # Of proposal i and match j: how far the map puts a feature from its place, as two products of matrices.
    misses_x = np.array([right, -down, -ones, -x]).T.copy() @ np.array([a[:, 0], a[:, 1], b[:, 0], ones])
    misses_y = np.array([down, right, -ones, -y]).T.copy() @ np.array([a[:, 0], a[:, 1], b[:, 1], ones])
    near &= misses_x * misses_x + misses_y * misses_y < (3 * _TOLERANCE) ** 2  # one feature's size and angle are rough
    return np.asarray(near[near.sum(axis=1).argmax()])


def _refined(a: NDArray[np.float64], b: NDArray[np.float64], agreeing: NDArray[np.bool_]) -> Map | None:
    """Least squares on those that agree, then who agrees, until that stands still."""
    for _ in range(_ROUNDS):
        affine = _fitted(a[agreeing], b[agreeing])
        if affine is None:
            return None
        found, fitted, misses = affine, agreeing, np.hypot(*(affine[:, :2] @ a.T + affine[:, 2:] - b.T))
        agreeing = misses < _TOLERANCE
        if np.array_equal(fitted, agreeing):
            break
    return Map(min(_distinct(a[agreeing]), _distinct(b[agreeing])), found, float(np.median(misses[fitted])))


def _fitted(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine | None:
    """An affine map of enough points, else a similarity; None for a map without sense."""
    places = _distinct(a)
    if places < _FIT_MIN:
        return None
    affine = _least_squares_affine(a, b) if places >= 6 else _least_squares_similarity(a, b)
    large, small, determinant = _scales(affine)
    sane = determinant > 0 and _SCALE_RANGE[0] < small and large < _SCALE_RANGE[1] and large < _STRETCH_MAX * small
    return affine if sane else None


def _scales(affine: Affine) -> tuple[float, float, float]:
    """The singular values of the linear part, larger first, and its determinant; numpy's take ten times as long."""
    (p, q, _), (r, s, _) = affine.tolist()
    one, other = math.hypot(p + s, r - q) / 2, math.hypot(p - s, r + q) / 2
    return one + other, abs(one - other), p * s - q * r


def _least_squares_affine(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine:
    middle, target = a.mean(axis=0), b.mean(axis=0)
    x, y = a - middle, b - target
    (xx, xy), (_, yy) = (x.T @ x).tolist()
    determinant = xx * yy - xy * xy
    if determinant < _ON_A_LINE:
        return np.zeros((2, 3))
    linear = (y.T @ x) @ np.array([[yy, -xy], [-xy, xx]]) / determinant
    return np.column_stack([linear, target - linear @ middle])


def _least_squares_similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine:
    za, zb = _complex(a), _complex(b)
    ca, cb = za - za.mean(), zb - zb.mean()
    turn = (cb * ca.conj()).sum() / max((np.abs(ca) ** 2).sum(), 1e-9)
    shift = zb.mean() - turn * za.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _distinct(points: NDArray[np.float64]) -> int:
    """How many cells of the picture the points lie in."""
    cells = (points / _CELL).astype(np.int64)
    return len(set((cells[:, 0] * _CELLS_MAX + cells[:, 1]).tolist()))


def _complex(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    return np.asarray(points[:, 0] + 1j * points[:, 1])

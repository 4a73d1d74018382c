"""Find how a whole picture lies on another. Looks at small luma alone, so that strangers cost a fraction of a ms.

A picture is laid on the whole of the other in the 8 orientations, and searched for inside the other at a series of
scales, for a crop, a frame and a screenshot: coarsely over all scales, then finely around the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.features import Features

Affine = NDArray[np.float64]
Luma = NDArray[np.uint8]

SIDE_MIN = 8
"""Pixels: a picture with a shorter side has too few to compare."""
ENOUGH = 0.93
"""Correlation from which on whole pictures are compared before parts are searched for."""
SPREAD_MIN = 2.0
"""Grey levels, standard deviation: below this there is nothing to compare."""

_SQUARE = 32
"""Pixels, both sides, at most: whole pictures while their orientation is looked for."""
_ASPECT_TOLERANCE = 0.06
_COARSE_SIDE, _FINE_SIDE, _OWN_SIDE = 24, 64, 128
"""Pixels, longer side: the outer picture in the coarse and in the fine search, and what smaller ones are made from."""
_COARSE_SCALES = np.geomspace(0.97, 0.45, 8)
_FINE_SCALES = np.array([0.93, 0.965, 1.0, 1.035, 1.07])
"""Sizes of the contained picture, as shares of what would fill the other one, and around the best of these."""
_FINEST_SCALES = np.array([0.98, 0.99, 1.0, 1.01, 1.02])
"""The same at the side that smaller ones are made from: of stripes the correlation is not maximised any further."""
_COARSE_MIN = 0.7
"""Correlation at the coarse side: on the tuned seed every part that the fine search found at .8 or more had .8, half of
the strangers have less than .67."""
_LIKELY, SIZE_WEIGHT = 2, 0.05
"""The coarse scales that are searched finely; of stripes, which lie on each other at all scales, the larger ones."""
_SPRITE_SIDE = 64
"""Pixels, longer side, up to which a picture is looked for pixel by pixel."""
_SLACK = 4
"""Pixels of the fine side around the coarse place."""


class LaidOn(NamedTuple):
    correlation: float
    """[-1, 1], of the small luma"""
    affine: Affine
    """[2, 3]: pixels of the query's frame -> pixels of the candidate's"""


class Placed(NamedTuple):
    """The best place of an inner picture in an outer one."""

    correlation: float
    share: float
    """size of the inner picture, as a share of what would fill the outer one"""
    left: float
    top: float
    """pixels of the outer picture's frame"""


class Whole:
    """A picture's luma in the sizes that it is compared at, each made once."""

    def __init__(self, features: Features) -> None:
        self.width, self.height = features.width, features.height
        self.own_sides = features.picture.shape[1], features.picture.shape[0]
        luma = np.ascontiguousarray(features.picture[..., 0])
        self.own = luma if self.own_sides == (self.width, self.height) else None
        """the luma pixel by pixel, of a picture that is kept at its own size"""
        scale = _OWN_SIDE / max(luma.shape)
        small = max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale))
        self._luma = _resized(luma, small) if scale < 1 else luma
        self._sizes: dict[tuple[int, int], Luma] = {}
        self._squares: dict[int, NDArray[np.float32]] = {}

    def sized(self, width: int, height: int) -> Luma:
        size = width, height
        if size not in self._sizes:
            self._sizes[size] = _resized(self._luma, size)
        return self._sizes[size]

    def correlations(self, other: Whole) -> NDArray[np.float32]:
        """[4]: of this picture, turned by 0 to 3 quarters, with another, both as squares.

        Of the pixels of the coarser one: half of a sprite correlates with it at .8 when it is enlarged, at .97 when the
        sprite is reduced, and would rather lie on a part of it."""
        side = min(_SQUARE, max(self.own_sides), max(other.own_sides))
        return np.asarray(self._quarters(side) @ other._quarters(side)[0])

    def _quarters(self, side: int) -> NDArray[np.float32]:
        """[4, n]: the picture as a square, turned by 0 to 3 quarters, of unit length and without its mean."""
        if side not in self._squares:
            square = self.sized(side, side).astype(np.float32)
            square -= square.mean()
            square /= max(1e-6, float(np.linalg.norm(square)))
            self._squares[side] = np.array([np.rot90(square, -quarter).ravel() for quarter in range(4)])
        return self._squares[side]


def placements(views: Sequence[Whole], candidate: Whole) -> Iterator[tuple[LaidOn, int]]:
    """The placements to compare by, and the number of the view (upright, mirrored) of each: of the whole pictures if
    they correlate, then the best of all.

    Parts are looked for upright alone, and only if the caller goes on, for of plain stripes a crop lies well enough on
    the whole."""
    placed = [(laid, number) for number, view in enumerate(views) if (laid := _on_each_other(view, candidate))]
    whole = max(placed, key=_correlation, default=None)
    if whole is not None and _correlation(whole) >= ENOUGH:
        yield whole
        whole = None
    part = max(((each, 0) for each in _contained(views[0], candidate)), key=_correlation, default=None)
    best = max((each for each in (whole, part) if each is not None), key=_correlation, default=None)
    if best is not None:
        yield best


def _correlation(placed: tuple[LaidOn, int]) -> float:
    return placed[0].correlation


def _on_each_other(view: Whole, candidate: Whole) -> LaidOn | None:
    """The whole view, turned by the quarters that correlate best, onto the whole candidate; None where the proportions
    do not allow it."""
    correlations = view.correlations(candidate)
    shape = math.log(view.width / view.height), math.log(candidate.width / candidate.height)
    allowed = [abs(shape[0] * (-1) ** quarter - shape[1]) <= _ASPECT_TOLERANCE for quarter in range(4)]
    if not any(allowed):
        return None
    quarter = int(np.where(allowed, correlations, -1).argmax())
    width, height = (view.width, view.height)[:: -1 if quarter % 2 else 1]
    turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarter)
    linear = np.diag([candidate.width / width, candidate.height / height]) @ turn
    middle = (np.array([view.width, view.height]) - 1) / 2
    target = (np.array([candidate.width, candidate.height]) - 1) / 2
    return LaidOn(float(correlations[quarter]), np.column_stack([linear, target - linear @ middle]))


def _contained(view: Whole, candidate: Whole) -> Iterable[LaidOn]:
    """The view inside the candidate, and the candidate inside the view."""
    for inner, outer in ((view, candidate), (candidate, view)):
        found = _at_own_size(inner, outer) or _inside(inner, outer)
        if found is None:
            continue
        scale = found.share * _fit(inner, outer)
        affine = np.array([[scale, 0, found.left], [0, scale, found.top]])
        back = affine if inner is view else np.asarray(cv2.invertAffineTransform(affine), np.float64)
        yield LaidOn(found.correlation, back)


def _at_own_size(inner: Whole, outer: Whole) -> Placed | None:
    """The place of a sprite or icon in a picture that shows it pixel by pixel, such as a screenshot; None where there
    is none. At another size its pixels mix."""
    if inner.own is None or outer.own is None or max(inner.own.shape) > _SPRITE_SIDE or _spread(inner.own) < SPREAD_MIN:
        return None
    if outer.own.shape[0] < inner.own.shape[0] or outer.own.shape[1] < inner.own.shape[1]:
        return None
    _, correlation, _, place = cv2.minMaxLoc(cv2.matchTemplate(outer.own, inner.own, cv2.TM_CCOEFF_NORMED))
    placed = Placed(correlation, 1 / _fit(inner, outer), *place)
    return placed if correlation >= ENOUGH else None


def _inside(inner: Whole, outer: Whole) -> Placed | None:
    """The best place of the inner picture in the outer one, upright; None where there is none."""
    smallest = SIDE_MIN / min(outer.own_sides)  # a part of fewer pixels of the outer picture shows nothing
    shares = [float(share) for share in _COARSE_SCALES if share * _fill(inner, outer) >= smallest]
    places = [_place(inner, outer, _COARSE_SIDE, share, None) for share in shares]
    likely = sorted((each for each in places if each and each.correlation >= _COARSE_MIN), key=_likelihood)[-_LIKELY:]
    closer = (
        _place(inner, outer, _FINE_SIDE, min(1.0, near.share * scale), near)
        for near in likely
        for scale in _FINE_SCALES.tolist()
    )
    found = max((each for each in closer if each), key=_likelihood, default=None)
    if found is None or found.correlation < _COARSE_MIN:
        return found
    finest = (
        _place(inner, outer, _OWN_SIDE, min(1.0, found.share * scale), found) for scale in _FINEST_SCALES.tolist()
    )
    return max((each for each in finest if each), key=_likelihood, default=found)


def _likelihood(placed: Placed) -> float:
    return placed.correlation + SIZE_WEIGHT * placed.share


def _fit(inner: Whole, outer: Whole) -> float:
    """The scale at which the inner picture's frame fills the outer one's."""
    return min(outer.width / inner.width, outer.height / inner.height)


def _fill(inner: Whole, outer: Whole) -> float:
    """The shorter side of the inner picture that fills the outer one, as a share of the outer one's shorter side."""
    return _fit(inner, outer) * min(inner.width, inner.height) / min(outer.width, outer.height)


def _place(inner: Whole, outer: Whole, side: int, share: float, near: Placed | None) -> Placed | None:
    """The place of the outer picture, anywhere or near a known place, that correlates best with the inner one."""
    scale = side / max(outer.width, outer.height)
    ground = outer.sized(max(1, round(outer.width * scale)), max(1, round(outer.height * scale)))
    size = scale * _fit(inner, outer) * share
    template = inner.sized(max(1, round(inner.width * size)), max(1, round(inner.height * size)))
    left = top = 0
    if near is not None:
        left, top = (max(0, round(edge * scale) - _SLACK) for edge in (near.left, near.top))
        ground = ground[top : top + template.shape[0] + 2 * _SLACK, left : left + template.shape[1] + 2 * _SLACK]
    if min(template.shape) < SIDE_MIN * side / _FINE_SIDE or _spread(template) < SPREAD_MIN:
        return None
    if ground.shape[0] < template.shape[0] or ground.shape[1] < template.shape[1]:
        return None
    _, correlation, _, place = cv2.minMaxLoc(cv2.matchTemplate(ground, template, cv2.TM_CCOEFF_NORMED))
    return Placed(correlation, share, (left + place[0]) / scale, (top + place[1]) / scale)


def _spread(luma: Luma) -> float:
    """Grey levels, standard deviation."""
    return float(cv2.meanStdDev(luma)[1][0, 0])


def _resized(luma: Luma, size: tuple[int, int]) -> Luma:
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

"""Compare pictures that have too few local features for a map: sprites, icons, flags, logos, skies, snow.

Module ``placement`` lays them on each other. If the pictures agree there, every pixel is compared: such pictures are
alike so often that agreement alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, align
from shazimd.imaging.differences import differences_of, other_strokes
from shazimd.imaging.features import Features
from shazimd.imaging.mapping import mapping
from shazimd.imaging.placement import SIDE_MIN, SPREAD_MIN, Whole, best_placement
from shazimd.types import Verdict, Verification

Affine = NDArray[np.float64]

_OWN_SIDE = 192
_GRID_SIDE = 96
"""Pixels, longer side: the pictures as they are compared, at most and at least, so that sprites are enlarged."""
_CANDIDATE_MIN = 0.8
"""Correlation from which on a placement is looked at more closely."""
CORRELATION_MIN, RELIEF_CORRELATION_MIN = 0.93, 0.93
"""Of the aligned luma, and of what a plane leaves of it: two skies with light from one side correlate at .99."""
RELIEF_MIN = 1.0
"""Grey levels, standard deviation of what a plane leaves: below this there is nothing to compare."""
_UNLIKE_SHARE, _UNLIKE_RANGE = 0.35, (4, 16)
"""Grey levels that make a pixel unlike, as a share of the spread, and their limits."""
_UNLIKE_PIXELS_SHARE = 0.0006
_VARIANT_SHARE_MAX = 0.12
"""Pictures that differ in more than this share are not of one template: a white border alone correlates."""
_REFINED_MAX = 0.06
"""How far a refined map may turn and scale: stripes can be stretched onto any other stripes."""
_ROUNDS, _STEP_MIN = 40, 1e-4


class WholeView(NamedTuple):
    """A query, upright or mirrored, ready to be laid on others."""

    features: Features
    whole: Whole


def whole_view(features: Features) -> WholeView:
    smaller = _smaller(features)
    return WholeView(smaller, Whole(smaller))


def compared_whole(views: Sequence[WholeView], candidate: Features) -> Verification | None:
    """COPY or VARIANT for the query's views (upright, mirrored) and a candidate, None where they are not related."""
    if min(min(side.picture.shape[:2]) for side in (views[0].features, candidate)) < SIDE_MIN:
        return None
    candidate = _smaller(candidate)
    placed, mirrored = best_placement([view.whole for view in views], Whole(candidate))
    if placed is None or placed.correlation < _CANDIDATE_MIN:
        return None
    view = views[mirrored].features
    both = _refined(view, candidate, placed.affine)
    agreed = _agreement(both)
    if agreed is None:
        return None
    spread = float(both.match[both.inside].std())
    least = int(np.clip(_UNLIKE_SHARE * spread, *_UNLIKE_RANGE))
    pixels = max(6, int(_UNLIKE_PIXELS_SHARE * both.inside.sum()))
    enlarged = max(1, round(max(both.match.shape) / max(min(max(side.picture.shape) for side in (view, candidate)), 1)))
    differs = other_strokes(both, drawn=True)
    differs = differs or differences_of(both, drawn=True, least=least, pixels=pixels, coarser=enlarged)
    if differs is not None and differs.share > _VARIANT_SHARE_MAX:
        return None
    verdict = Verdict.COPY if differs is None else Verdict.VARIANT
    return Verification(
        verdict, 0, agreed, mapping(placed.affine, view, candidate, bool(mirrored)), None if mirrored else differs
    )


def _smaller(features: Features) -> Features:
    """The same with a picture of ``_OWN_SIDE`` at most, for pictures without detail."""
    height, width = features.picture.shape[:2]
    scale = _OWN_SIDE / max(height, width)
    if scale >= 1:
        return features
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(np.ascontiguousarray(features.picture), size, interpolation=cv2.INTER_AREA)
    return replace(features, picture=picture.astype(np.uint8, copy=False))


def _refined(view: Features, candidate: Features, affine: Affine) -> Aligned:
    """The pictures aligned by the map, then by the one near it that correlates best, if that is better."""
    both = align(view, candidate, affine, least=_GRID_SIDE)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _STEP_MIN)
    start, mask = np.eye(2, 3, dtype=np.float32), both.inside.astype(np.uint8)
    try:
        _, found = cv2.findTransformECC(both.match, both.query, start, cv2.MOTION_AFFINE, stop, mask)
    except cv2.error:  # OpenCV's only way to say that the pictures do not overlap, are flat or do not converge
        return both
    if np.abs(found[:, :2] - np.eye(2)).max() >= _REFINED_MAX:
        return both
    better = both.moved(np.asarray(cv2.invertAffineTransform(found), np.float64))
    return better if _correlation(better) > _correlation(both) else both


def _correlation(both: Aligned) -> float:
    if both.inside.sum() < 64:
        return -1.0
    return _correlated(*(side[both.inside].astype(np.float64) for side in (both.query, both.match)))


def _agreement(both: Aligned) -> float | None:
    """The correlation of the aligned luma where it, and what a plane leaves of it, agree; None where not, or where
    there is nothing to compare."""
    correlation = _correlation(both)
    if correlation < CORRELATION_MIN:
        return None
    y, x = np.nonzero(both.inside)
    plane = np.column_stack([x, y, np.ones(len(x))]).astype(np.float64)
    sides = [side[both.inside].astype(np.float64) for side in (both.query, both.match)]
    reliefs = [side - plane @ np.linalg.lstsq(plane, side, rcond=None)[0] for side in sides]
    quiet = min(side.std() for side in sides) < SPREAD_MIN or min(relief.std() for relief in reliefs) < RELIEF_MIN
    return None if quiet or _correlated(*reliefs) < RELIEF_CORRELATION_MIN else correlation


def _correlated(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(1e-9, np.sqrt((a * a).sum() * (b * b).sum())))

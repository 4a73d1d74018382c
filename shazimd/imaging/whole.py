"""Compare pictures that have too few local features for a map: sprites, icons, flags, logos, skies, snow.

They are laid on each other whole, in the 8 orientations, and one is searched for inside the other at a series of
scales, for a crop, a frame and a screenshot. If the pictures agree, every pixel is compared: such pictures
are alike so often that agreement alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.differences import Aligned, align, differences_of
from shazimd.imaging.features import Features
from shazimd.imaging.mapping import mapping
from shazimd.types import Verdict, Verification

Affine = NDArray[np.float64]

_SIDE_MIN = 8
"""Pixels: a picture with a shorter side has too few to compare."""
_SEARCH_SIDE = 64
"""Pixels, longer side: the pictures while one is searched for in the other."""
_SQUARE = 32
"""Pixels, both sides: whole pictures while their orientation is looked for."""
_OWN_SIDE = 192
_GRID_SIDE = 96
"""Pixels, longer side: the pictures as they are compared, at most and at least, so that sprites are enlarged."""
_ASPECT_TOLERANCE = 0.06
_SCALES = np.geomspace(0.97, 0.45, 20)
"""Sizes of the contained picture, as shares of what would fill the other one."""
_CANDIDATE_MIN = 0.8
"""Correlation from which on a placement is looked at more closely."""
CORRELATION_MIN, RELIEF_CORRELATION_MIN = 0.93, 0.93
"""Of the aligned luma, and of what a plane leaves of it: two skies with light from one side correlate at .99."""
SPREAD_MIN, RELIEF_MIN = 2.0, 1.0
"""Grey levels, standard deviation: below these there is nothing to compare."""
_UNLIKE_SHARE, _UNLIKE_RANGE = 0.35, (4, 16)
"""Grey levels that make a pixel unlike, as a share of the spread, and their limits."""
_UNLIKE_PIXELS_SHARE = 0.0006
_VARIANT_SHARE_MAX = 0.12
"""Pictures that differ in more than this share are not of one template: a white border alone correlates."""
_REFINED_MAX = 0.06
"""How far a refined map may turn and scale: stripes can be stretched onto any other stripes."""
_ROUNDS, _STEP_MIN = 40, 1e-4


def compared_whole(views: Sequence[Features], candidate: Features) -> Verification | None:
    """COPY or VARIANT for the query's views (upright, mirrored) and a candidate, None where they are not related."""
    if min(min(side.picture.shape[:2]) for side in (views[0], candidate)) < _SIDE_MIN:
        return None
    views, candidate = [_smaller(view) for view in views], _smaller(candidate)
    placed = [(*_best(view, candidate, number == 0), number) for number, view in enumerate(views)]
    correlation, affine, mirrored = max(placed, key=lambda each: each[0])
    if affine is None or correlation < _CANDIDATE_MIN:
        return None
    view = views[mirrored]
    both = _refined(view, candidate, affine)
    agreed = _agreement(both)
    if agreed is None:
        return None
    spread = float(both.match[..., 0][both.inside].std())
    least = int(np.clip(_UNLIKE_SHARE * spread, *_UNLIKE_RANGE))
    pixels = max(6, int(_UNLIKE_PIXELS_SHARE * both.inside.sum()))
    enlarged = max(1, round(max(both.match.shape) / max(min(max(side.picture.shape) for side in (view, candidate)), 1)))
    differs = differences_of(both, drawn=True, least=least, pixels=pixels, coarser=enlarged)
    if differs is not None and differs.share > _VARIANT_SHARE_MAX:
        return None
    verdict = Verdict.COPY if differs is None else Verdict.VARIANT
    return Verification(
        verdict, 0, agreed, mapping(affine, view, candidate, bool(mirrored)), None if mirrored else differs
    )


def _best(view: Features, candidate: Features, parts: bool) -> tuple[float, Affine | None]:
    """The placement that correlates best, and its correlation; with ``parts``, one may lie inside the other."""
    found: tuple[float, Affine | None] = (-1.0, None)
    for placed in _whole(view, candidate):
        found = max(found, placed, key=lambda each: each[0])
    if found[0] < CORRELATION_MIN and parts:
        for correlation, affine in (*_inside(view, candidate, False), *_inside(candidate, view, True)):
            found = max(found, (correlation, affine), key=lambda each: each[0])
    return found


def _whole(view: Features, candidate: Features) -> Iterator[tuple[float, Affine]]:
    """The correlations and maps of the whole view, turned by quarters, onto the whole candidate, where the proportions
    allow it."""
    square = _SQUARE, _SQUARE
    ours, theirs = (
        cv2.resize(np.ascontiguousarray(side.luma), square, interpolation=cv2.INTER_AREA).astype(np.float64)
        for side in (view, candidate)
    )
    for quarter in range(4):
        width, height = (view.width, view.height)[:: -1 if quarter % 2 else 1]
        if abs(np.log((width / height) / (candidate.width / candidate.height))) > _ASPECT_TOLERANCE:
            continue
        turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarter)
        linear = np.diag([candidate.width / width, candidate.height / height]) @ turn
        middle = (np.array([view.width, view.height]) - 1) / 2
        target = (np.array([candidate.width, candidate.height]) - 1) / 2
        yield _correlated(np.rot90(ours, -quarter), theirs), np.column_stack([linear, target - linear @ middle])


def _inside(inner: Features, outer: Features, backwards: bool) -> list[tuple[float, Affine]]:
    """The best place of the inner picture in the outer one, upright: (correlation, map of the view's frame)."""
    scale = _SEARCH_SIDE / max(outer.width, outer.height)
    ground, inner = _luma(outer, scale), _smaller(inner)
    best: tuple[float, float, tuple[int, int]] = (-1.0, 0.0, (0, 0))
    fit = min(outer.width / inner.width, outer.height / inner.height)
    for share in _SCALES:
        template = _luma(inner, scale * fit * share)
        if min(template.shape) < _SIDE_MIN or template.std() < SPREAD_MIN:
            continue
        _, correlation, _, place = cv2.minMaxLoc(cv2.matchTemplate(ground, template, cv2.TM_CCOEFF_NORMED))
        best = max(best, (correlation, fit * share, (place[0], place[1])))
    if best[1] == 0:
        return []
    affine = np.array([[best[1], 0, best[2][0] / scale], [0, best[1], best[2][1] / scale]])
    return [(best[0], np.asarray(cv2.invertAffineTransform(affine), np.float64) if backwards else affine)]


def _smaller(features: Features) -> Features:
    """The same with a picture of ``_OWN_SIDE`` at most, for pictures without detail."""
    height, width = features.picture.shape[:2]
    scale = _OWN_SIDE / max(height, width)
    if scale >= 1:
        return features
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(np.ascontiguousarray(features.picture), size, interpolation=cv2.INTER_AREA)
    return replace(features, picture=picture.astype(np.uint8, copy=False))


def _luma(features: Features, scale: float) -> NDArray[np.uint8]:
    size = max(1, round(features.width * scale)), max(1, round(features.height * scale))
    luma = np.ascontiguousarray(features.picture[..., 0])
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _refined(view: Features, candidate: Features, affine: Affine) -> Aligned:
    """The pictures aligned by the map, then by the one near it that correlates best, if that is better."""
    both = align(view, candidate, affine, _GRID_SIDE)
    a, b = both.query[..., 0], both.match[..., 0]
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _STEP_MIN)
    start, mask = np.eye(2, 3, dtype=np.float32), both.inside.astype(np.uint8)
    try:
        _, found = cv2.findTransformECC(
            np.ascontiguousarray(b), np.ascontiguousarray(a), start, cv2.MOTION_AFFINE, stop, mask
        )
    except cv2.error:  # OpenCV's only way to say that the pictures do not overlap, are flat or do not converge
        return both
    size = b.shape[1], b.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(both.query, found, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(mask, found, size, flags=flags) > 0
    back = np.vstack([both.to_query, [0, 0, 1]]) @ np.vstack([found.astype(np.float64), [0, 0, 1]])
    better = Aligned(moved.astype(np.uint8, copy=False), both.match, inside & both.inside, back[:2])
    near = bool(np.abs(found[:, :2] - np.eye(2)).max() < _REFINED_MAX)
    return better if near and _correlation(better) > _correlation(both) else both


def _correlation(both: Aligned) -> float:
    if both.inside.sum() < 64:
        return -1.0
    return _correlated(*(side[..., 0][both.inside].astype(np.float64) for side in (both.query, both.match)))


def _agreement(both: Aligned) -> float | None:
    """The correlation of the aligned luma where it, and what a plane leaves of it, agree; None where not, or where
    there is nothing to compare."""
    correlation = _correlation(both)
    if correlation < CORRELATION_MIN:
        return None
    y, x = np.nonzero(both.inside)
    plane = np.column_stack([x, y, np.ones(len(x))]).astype(np.float64)
    sides = [side[..., 0][both.inside].astype(np.float64) for side in (both.query, both.match)]
    reliefs = [side - plane @ np.linalg.lstsq(plane, side, rcond=None)[0] for side in sides]
    quiet = min(side.std() for side in sides) < SPREAD_MIN or min(relief.std() for relief in reliefs) < RELIEF_MIN
    return None if quiet or _correlated(*reliefs) < RELIEF_CORRELATION_MIN else correlation


def _correlated(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(1e-9, np.sqrt((a * a).sum() * (b * b).sum())))

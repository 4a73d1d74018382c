"""Lay two plain pictures on each other to a fraction of a pixel, from a map that is nearly right.

The correlation of the luma is maximised over affine maps (Evangelidis and Psarakis, PAMI 2008). Of stripes it is not,
for they may be moved and stretched along their length at will. These are slid: moved, and enlarged in both directions
alike, by damped least squares (Levenberg, 1944), which leave them as they are along their length; in coarse pixels
first.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Affine, Aligned, align
from shazimd.imaging.features import Features

_GRID_SIDE = 96
"""Pixels, longer side: the pictures as they are laid on each other, at least, so that sprites are enlarged."""
_EXACT_MIN = 0.998
"""Correlation from which on a map is exact, but for stripes."""
_REFINED_MAX = 0.06
"""How far a refined map may turn and scale: stripes can be stretched onto any other stripes."""
_ROUNDS, _STEP_MIN = 10, 1e-4
"""Of the search for that map: 30 rounds more find a better one for none of 1,000 pairs of the tuned seed."""
_SLID_LACKING_MAX, _SLID_GAIN = 0.1, 0.8
"""The difference of 1 and the correlation of pictures that are slid, at most, and the part of it that may be left."""
_STEPS = 4, 4, 2, 2, 1
"""Pixels of the grid that make one in each round of sliding."""
_DAMPING = 0.003
"""A part of the largest mean square of a change of luma: movements that change it less are left out."""


def laid(view: Features, candidate: Features, affine: Affine) -> Aligned:
    """The pictures aligned by the map, sprites enlarged."""
    return align(view, candidate, affine, least=_GRID_SIDE)


def refined(both: Aligned) -> Aligned:
    """Aligned pictures as they are, or aligned by a better-correlating map near theirs."""
    before = correlation(both)
    if before >= _EXACT_MIN:
        return both
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _STEP_MIN)
    start, mask = np.eye(2, 3, dtype=np.float32), both.inside.astype(np.uint8)
    try:
        _, found = cv2.findTransformECC(both.match, both.query, start, cv2.MOTION_AFFINE, stop, mask)
    except cv2.error:  # OpenCV's only way to say that the pictures do not overlap, are flat or do not converge
        return both
    if np.abs(found[:, :2] - np.eye(2)).max() >= _REFINED_MAX:
        return both
    better = both.moved(np.asarray(cv2.invertAffineTransform(found), np.float64))
    return better if correlation(better) > before else both


def slid(both: Aligned, before: Aligned) -> Aligned | None:
    """Aligned pictures, slid to where they correlate best; None unless that is plainly better than ``before``, which
    must correlate well."""
    lacking = 1 - correlation(before)
    if lacking > _SLID_LACKING_MAX:
        return None
    best = both
    for step in _STEPS:
        both = both.moved(np.asarray(cv2.invertAffineTransform(_slide(both, step)), np.float64))
        best = max(best, both, key=correlation)
    return best if 1 - correlation(best) <= _SLID_GAIN * lacking else None


def _slide(both: Aligned, step: int) -> Affine:
    """[2, 3]: pixels of the grid -> the pixels that the query shows there now, and that belong there."""
    (rows, columns), (width, height) = both.coarser(step)
    query, match, inside = (
        cv2.resize(plane[rows, columns], (width, height), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        for plane in (both.query, both.match, both.inside.view(np.uint8))
    )
    middle = (query + match) / 2
    across, down = (cv2.Sobel(middle, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    half = max(width, height) / 2
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / half
    y = (np.arange(height, dtype=np.float32)[:, np.newaxis] - (height - 1) / 2) / half
    shown = inside == 1
    terms = np.stack([each[shown] for each in (across, down, x * across + y * down, match, np.ones_like(match))])
    products = terms.astype(np.float64) @ terms.T
    damped = products + np.diag([_DAMPING * products.diagonal()[:3].max() + 1e-6] * 3 + [1e-6] * 2)
    right, below, larger, *_ = np.linalg.solve(damped, terms @ (match - query)[shown].astype(np.float64)).tolist()
    scale = 1 + larger / half
    centre = step * np.array([width, height]) / 2 - 0.5
    return np.column_stack([scale * np.eye(2), step * np.array([right, below]) + (1 - scale) * centre])


def correlation(both: Aligned) -> float:
    """Of the luma where both are shown, [-1, 1]; -1 where that is too little to say."""
    if np.count_nonzero(both.inside) < 64:
        return -1.0
    return correlated(*(side[both.inside].astype(np.float64) for side in (both.query, both.match)))


def correlated(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The correlation of two rows of numbers, [-1, 1]; 0 if either has one value alone."""
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) / max(1e-9, math.sqrt(float(a @ a) * float(b @ b)))

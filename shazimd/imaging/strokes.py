"""Places where two aligned pictures both have structure, and not the same: other words, figures, codes, lines.

Pixels are compared by the correlation of the squares around them, so gain, contrast, blur and compression do not count,
nor does a misplacement of a pixel. An addition to one of the pictures does not count either: there the other is plain,
or has much less contrast.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask, Plane

REACH = 4
"""Pixels around a pixel that are compared."""
_WINDOW = 2 * REACH + 1, 2 * REACH + 1
CORRELATION_MAX = 0.6
"""On the tuned seed, edited copies have a lower correlation nowhere but under stamps."""
SPREADS = 16.0, 0.4
"""Grey levels, standard deviation within the window: structure in both, and not much less in one of them."""
_SHIFTS = sorted(((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)), key=lambda shift: abs(shift[0]) + abs(shift[1]))
_SCREENED_MIN = 24
"""Pixels that are unlike, below which no other place is tried."""

_Grey = NDArray[np.float32]


class _Window(NamedTuple):
    """A picture, and the mean and variance around each pixel."""

    luma: Plane
    mean: _Grey
    variance: _Grey

    @classmethod
    def of(cls, plane: Plane) -> _Window:
        mean = _grey(cv2.boxFilter(plane, cv2.CV_32F, _WINDOW))
        square = _grey(cv2.sqrBoxFilter(plane, cv2.CV_32F, _WINDOW))
        return cls(plane, mean, square - mean * mean)


def unlike_strokes(
    both: Aligned,
    least: int = _SCREENED_MIN,
    *,
    correlation_max: float = CORRELATION_MAX,
    contrast_min: int = 0,
    spreads: tuple[float, float] = SPREADS,
) -> Mask:
    """The pixels around which both pictures have structure that does not correlate; where asked, only those with so
    much contrast (grey levels within the window) in both. Fewer than ``least`` may be too many: they are not compared
    at all shifts."""
    query, match = _Window.of(both.query), _Window.of(both.match)
    spread, ratio = (limit**2 for limit in spreads)
    left = (query.variance >= spread) & (match.variance >= spread) & both.inside
    if contrast_min and left.any():
        left &= np.minimum(_contrast(both.query), _contrast(both.match)) >= contrast_min
    left &= (query.variance >= ratio * match.variance) & (match.variance >= ratio * query.variance)
    if np.count_nonzero(left) < least:
        return left
    left &= ~_correlated_in_place(query, match, correlation_max)
    if np.count_nonzero(left) < least:
        return left
    rows, columns = np.nonzero(left)
    wide = cv2.copyMakeBorder(query.luma, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    for shift in _SHIFTS[1:]:
        if len(rows) < least:
            break
        unlike = ~_correlated(query, wide, match, (rows, columns), shift, correlation_max)
        rows, columns = rows[unlike], columns[unlike]
    left = np.zeros_like(both.inside)
    left[rows, columns] = True
    return left


def _correlated_in_place(query: _Window, match: _Window, least: float) -> Mask:
    """Whether the windows around each pixel correlate. In a copy nearly all do, so no list of places is made."""
    covariance = _products(query.luma, match.luma)
    covariance -= query.mean * match.mean
    limit = least**2 * query.variance * match.variance
    return np.asarray((covariance > 0) & (covariance * covariance >= limit))


def _correlated(
    query: _Window,
    wide: Plane,
    match: _Window,
    places: tuple[NDArray[np.intp], NDArray[np.intp]],
    shift: tuple[int, int],
    least: float,
) -> Mask:
    """Whether the windows around these places correlate, the query's moved by ``shift``; ``wide`` is its luma with a
    pixel more on each side."""
    rows, columns = places
    height, width = match.luma.shape
    (top, bottom), (start, end) = _span(rows, height), _span(columns, width)
    moved = wide[top + 1 - shift[0] : bottom + 1 - shift[0], start + 1 - shift[1] : end + 1 - shift[1]]
    products = _products(moved, match.luma[top:bottom, start:end])
    there = np.clip(rows - shift[0], 0, height - 1) * width + np.clip(columns - shift[1], 0, width - 1)
    here = rows * width + columns
    covariance = products.ravel()[(rows - top) * (end - start) + columns - start]
    covariance -= query.mean.ravel()[there] * match.mean.ravel()[here]
    limit = least**2 * query.variance.ravel()[there] * match.variance.ravel()[here]
    return np.asarray((covariance > 0) & (covariance * covariance >= limit))


def _products(one: Plane, other: Plane) -> _Grey:
    """The mean product of the pixels around each one, by sums of whole numbers."""
    return _grey(cv2.boxFilter(cv2.multiply(one, other, dtype=cv2.CV_16U), cv2.CV_32F, _WINDOW))


def _span(places: NDArray[np.intp], size: int) -> tuple[int, int]:
    """The first of the lines that hold these places and what is compared around them, and the one after the last."""
    return max(0, int(places.min()) - REACH), min(size, int(places.max()) + REACH + 1)


def _grey(values: NDArray[np.generic]) -> _Grey:
    return values.astype(np.float32, copy=False)


def _contrast(plane: Plane) -> Plane:
    kernel = np.ones(_WINDOW, np.uint8)
    return cv2.subtract(cv2.dilate(plane, kernel), cv2.erode(plane, kernel)).astype(np.uint8, copy=False)

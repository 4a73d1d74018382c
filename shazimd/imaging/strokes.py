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

from shazimd.imaging.alignment import Aligned, Mask, Plane, around, as_plane

REACH = 4
"""Pixels around a pixel that are compared."""
_WINDOW = 2 * REACH + 1, 2 * REACH + 1
CORRELATION_MAX = 0.6
"""On the tuned seed, edited copies have a lower correlation nowhere but under stamps."""
SPREADS = 16.0, 0.4
"""Grey levels, standard deviation within the window: structure in both, and not much less in one of them."""
_SHIFTS = sorted(((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)), key=lambda shift: abs(shift[0]) + abs(shift[1]))
_ROUNDING = 0.99
"""Variances are computed in float32, and are not quite what they are."""
_SCREENED_MIN = 24
"""Pixels that are unlike, below which no other place is tried."""

_MANY = 0.05
"""The share of pixels above which all are compared: picking them would take longer."""

_Grey = NDArray[np.float32]
_Moments = tuple[_Grey, _Grey]


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
    left = _may_be_unlike(both, correlation_max, spreads[0])
    if np.count_nonzero(left) < least:
        return left
    there = around(left, REACH + 1)
    part = _unlike_strokes(
        both.query[there], both.match[there], left[there], least, correlation_max, contrast_min, spreads
    )
    left = np.zeros_like(both.inside)
    left[there] = part
    return left


def are_structured(one: Plane, other: Plane, spreads: tuple[float, float]) -> Mask:
    """The pixels around which both pictures have structure (grey levels), and not much less in one of them."""
    variances = [_Window.of(side).variance for side in (one, other)]
    least, most = np.minimum(*variances), np.maximum(*variances)
    return np.asarray((least >= spreads[0] ** 2) & (least >= spreads[1] ** 2 * most))


def _may_be_unlike(both: Aligned, correlation_max: float, spread: float) -> Mask:
    """The pixels around which the pictures differ by so much that they may not correlate.

    The covariance is half of both variances without that of the difference, and their sum is twice the product of both
    standard deviations at least. So the correlation is 1 - variance of the difference / (2 ``spread``**2) at least."""
    squares = cv2.sqrBoxFilter(cv2.absdiff(both.query, both.match), cv2.CV_32F, _WINDOW)
    return np.asarray((squares > 2 * _ROUNDING * (1 - correlation_max) * spread**2) & both.inside)


def _unlike_strokes(
    one: Plane,
    other: Plane,
    left: Mask,
    least: int,
    correlation_max: float,
    contrast_min: int,
    spreads: tuple[float, float],
) -> Mask:
    query, match = _Window.of(one), _Window.of(other)
    spread, ratio = (limit**2 for limit in spreads)
    left = left & (query.variance >= spread) & (match.variance >= spread)
    if contrast_min and left.any():
        left &= np.minimum(_contrast(one), _contrast(other)) >= contrast_min
    left &= (query.variance >= ratio * match.variance) & (match.variance >= ratio * query.variance)
    if np.count_nonzero(left) < least:
        return left
    products = _products(query.luma, match.luma)
    left &= ~_correlated(products, (query.mean, query.variance), (match.mean, match.variance), correlation_max)
    if np.count_nonzero(left) < least:
        return left
    return _unlike_at_shifts(query, match, left, least, correlation_max)


def _unlike_at_shifts(query: _Window, match: _Window, left: Mask, least: int, correlation_max: float) -> Mask:
    """Those pixels whose windows correlate at no shift of a pixel, or fewer than ``least``.

    Many pixels are compared all together with the rest, which takes less than picking them."""
    luma, mean, variance = (cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE) for plane in query)
    height, width = left.shape
    left, here = left.copy(), None
    for y, x in _SHIFTS[1:]:
        count = np.count_nonzero(left) if here is None else len(here[0])
        if count < least:
            break
        there = slice(1 - y, 1 - y + height), slice(1 - x, 1 - x + width)
        products = _products(as_plane(luma[there]), match.luma)
        moments = _grey(mean[there]), _grey(variance[there]), match.mean, match.variance
        if here is None and count > _MANY * left.size:
            left &= ~_correlated(products, moments[:2], moments[2:], correlation_max)
            continue
        here = np.nonzero(left) if here is None else here
        a, b, c, d = (moment[here] for moment in moments)
        unlike = ~_correlated(products[here], (a, b), (c, d), correlation_max)
        here = here[0][unlike], here[1][unlike]
    if here is None:
        return left
    found = np.zeros_like(left)
    found[here] = True
    return found


def _correlated(products: _Grey, ours: _Moments, theirs: _Moments, least: float) -> Mask:
    """Whether windows correlate, by the mean products of their pixels, and the means and variances of each."""
    covariance = products - ours[0] * theirs[0]
    limit = least**2 * ours[1] * theirs[1]
    return np.asarray((covariance > 0) & (covariance * covariance >= limit))


def _products(one: Plane, other: Plane) -> _Grey:
    """The mean product of the pixels around each one, by sums of whole numbers."""
    return _grey(cv2.boxFilter(cv2.multiply(one, other, dtype=cv2.CV_16U), cv2.CV_32F, _WINDOW))


def _grey(values: NDArray[np.generic]) -> _Grey:
    return values.astype(np.float32, copy=False)


def _contrast(plane: Plane) -> Plane:
    kernel = np.ones(_WINDOW, np.uint8)
    return cv2.subtract(cv2.dilate(plane, kernel), cv2.erode(plane, kernel)).astype(np.uint8, copy=False)

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
_SPREAD_MIN, _SPREAD_RATIO = 16.0, 0.4
"""Grey levels, standard deviation within the window: structure in both, and not much less in one of them."""
_SHIFTS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
_SCREENED_MIN = 24
"""Pixels that are unlike where they are, below which no other place is tried."""

_Grey = NDArray[np.float32]


class _Window(NamedTuple):
    """A picture, and the mean and variance around each pixel."""

    luma: _Grey
    mean: _Grey
    variance: _Grey

    @classmethod
    def of(cls, plane: Plane) -> _Window:
        luma = plane.astype(np.float32)
        mean = _mean(luma)
        return cls(luma, mean, np.maximum(_mean(luma * luma) - mean * mean, 0))

    def shifted(self, y: int, x: int) -> _Window:
        """The same, moved by up to a pixel."""
        return _Window(_shifted(self.luma, y, x), _shifted(self.mean, y, x), _shifted(self.variance, y, x))


def unlike_strokes(both: Aligned, *, correlation_max: float = CORRELATION_MAX, contrast_min: int = 0) -> Mask:
    """The pixels around which both pictures have structure that does not correlate; where asked, only those with so
    much contrast (grey levels within the window) in both."""
    query, match = _Window.of(both.query), _Window.of(both.match)
    low, high = np.minimum(query.variance, match.variance), np.maximum(query.variance, match.variance)
    unlike = both.inside & (low >= _SPREAD_MIN**2) & (low >= _SPREAD_RATIO**2 * high)
    if contrast_min:
        unlike &= np.minimum(_contrast(both.query), _contrast(both.match)) >= contrast_min
    unlike &= ~_correlated(query, match, correlation_max)
    if unlike.sum() < _SCREENED_MIN:
        return unlike
    for y, x in _SHIFTS:
        if (y, x) != (0, 0):
            unlike &= ~_correlated(query.shifted(y, x), match, correlation_max)
    return unlike


def _correlated(a: _Window, b: _Window, least: float) -> Mask:
    covariance = _mean(a.luma * b.luma) - a.mean * b.mean
    return (covariance > 0) & (covariance * covariance >= least**2 * a.variance * b.variance)


def _shifted(values: _Grey, y: int, x: int) -> _Grey:
    height, width = values.shape
    wide = cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.float32, copy=False)
    return wide[1 - y : 1 - y + height, 1 - x : 1 - x + width]


def _mean(values: _Grey) -> _Grey:
    return cv2.boxFilter(values, -1, _WINDOW).astype(np.float32, copy=False)


def _contrast(plane: Plane) -> Plane:
    kernel = np.ones(_WINDOW, np.uint8)
    return cv2.subtract(cv2.dilate(plane, kernel), cv2.erode(plane, kernel)).astype(np.uint8, copy=False)

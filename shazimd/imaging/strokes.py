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
_SHIFTS = sorted(((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)), key=lambda shift: abs(shift[0]) + abs(shift[1]))
_SCREENED_MIN = 24
"""Pixels that are unlike, below which no other place is tried."""

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

    def widened(self) -> _Window:
        """The same with a pixel more on each side, to be shifted by one."""
        return _Window(*(_widened(plane) for plane in self))

    def at(self, rows: slice, columns: slice) -> _Window:
        return _Window(*(plane[rows, columns] for plane in self))


def unlike_strokes(
    both: Aligned, least: int = _SCREENED_MIN, *, correlation_max: float = CORRELATION_MAX, contrast_min: int = 0
) -> Mask:
    """The pixels around which both pictures have structure that does not correlate; where asked, only those with so
    much contrast (grey levels within the window) in both. Fewer than ``least`` may be too many: they are not compared
    at all shifts."""
    query, match = _Window.of(both.query), _Window.of(both.match)
    low, high = np.minimum(query.variance, match.variance), np.maximum(query.variance, match.variance)
    unlike = both.inside & (low >= _SPREAD_MIN**2) & (low >= _SPREAD_RATIO**2 * high)
    if contrast_min:
        unlike &= np.minimum(_contrast(both.query), _contrast(both.match)) >= contrast_min
    wide = query.widened()
    for y, x in _SHIFTS:
        if unlike.sum() < least:
            break
        rows, columns = _around(unlike)
        moved = slice(rows.start + 1 - y, rows.stop + 1 - y), slice(columns.start + 1 - x, columns.stop + 1 - x)
        some = unlike[rows, columns]
        some[some] = ~_correlated(wide.at(*moved), match.at(rows, columns), np.nonzero(some), correlation_max)
    return unlike


def _around(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold all of a mask, and what is compared around it."""
    first, second = (np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1))
    return _span(first, mask.shape[0]), _span(second, mask.shape[1])


def _span(places: NDArray[np.intp], size: int) -> slice:
    return slice(max(0, int(places[0]) - REACH), min(size, int(places[-1]) + REACH + 1))


def _correlated(a: _Window, b: _Window, places: tuple[NDArray[np.intp], ...], least: float) -> Mask:
    """Whether the windows around these places correlate."""
    covariance = _mean(a.luma * b.luma)[places] - a.mean[places] * b.mean[places]
    return (covariance > 0) & (covariance * covariance >= least**2 * a.variance[places] * b.variance[places])


def _widened(values: _Grey) -> _Grey:
    return cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


def _mean(values: _Grey) -> _Grey:
    return cv2.boxFilter(values, -1, _WINDOW).astype(np.float32, copy=False)


def _contrast(plane: Plane) -> Plane:
    kernel = np.ones(_WINDOW, np.uint8)
    return cv2.subtract(cv2.dilate(plane, kernel), cv2.erode(plane, kernel)).astype(np.uint8, copy=False)

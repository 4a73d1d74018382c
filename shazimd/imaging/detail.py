"""The detail of two pictures laid on each other, compared by frequency.

A picture's *gain* in a band is the part of its amplitude that the other explains, 1 where they are alike. Lost detail
lowers one gain and raises the other above 1; noise and additions lower one gain and leave the other at 1.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import Laid

WINDOW = 256
"""Pixels of the side of a compared window."""
BANDS = (0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""Limits of the frequencies compared, in cycles a pixel; the first band is the reference."""
GAIN_MIN = 1.2
"""Gain from which a picture has detail that the other lost."""
OTHER_SCALE = 1.15
"""Ratio of the scales from which one of the pictures was resized."""
COLOURS_MARGIN = 0.01
"""Growth of the coherence with the frequency, from which the colours of the pictures differ."""
REAL_DETAIL_MIN = 1.8
"""Power beyond the coarser picture's frequencies, as a multiple of the power that interpolation leaves there, from
which the finer picture is no upscaling. Of 15 photos doubled in size all have at most 1.5, of 15 reduced to half 2.2 or
more, of 15 reduced to 128 pixels 5 or more."""


class DetailSigns(NamedTuple):
    """A sign of either picture, if any, and the ratio of the resolutions of their detail."""

    asked: str | None
    known: str | None
    ratio: float | None
    recoloured: bool = False
    """whether the colours of one became others, which changes its luma"""


def compare_detail(laid: Laid, margin: float) -> DetailSigns:
    """The sign of a blur, an upscaling, a sharpening, noise or additions, for a mean difference of the gains of
    ``margin`` or more."""
    gains = _gains(laid)
    if gains is None:
        return DetailSigns(None, None, None)
    a, b = gains.a_in_b[2:], gains.b_in_a[2:]
    ratio, recoloured = _reach(a) / _reach(b), _have_other_colours(gains)
    if not 1 / OTHER_SCALE < laid.scale < OTHER_SCALE:
        is_known_finer = laid.scale > 1
        finer, coarser = gains.power_a, gains.power_b
        if is_known_finer:
            finer, coarser = coarser, finer
        is_real = _has_detail_beyond(finer, coarser, 0.5 * min(laid.scale, 1 / laid.scale))
        resized = "blur" if is_real else "upscaled"
        return DetailSigns(resized, None, ratio) if is_known_finer == is_real else DetailSigns(None, resized, ratio)
    if abs(float(a.mean() - b.mean())) < margin:
        return DetailSigns(None, None, ratio, recoloured)
    is_asked_richer = a.mean() > b.mean()
    sign, is_of_richer = _sign(gains, a if is_asked_richer else b, is_resampled=abs(laid.scale - 1) > 1e-3)
    asked, known = (sign, None) if is_asked_richer == is_of_richer else (None, sign)
    return DetailSigns(asked, known, ratio, recoloured)


def _sign(gains: _Gains, gain: NDArray[np.float64], *, is_resampled: bool) -> tuple[str | None, bool]:
    """(the sign, whether it is one of the richer picture), by the gain of the richer picture."""
    told = gains.coherence[2:] > 0.3
    if told.any() and gain[told].max() >= GAIN_MIN:
        is_sharpened = gains.coherence[-1] > 0.6 and gain[-3:].mean() > 0.85 * gain[2:4].mean()
        return ("sharpened", True) if is_sharpened else ("blur", False)
    if not is_resampled and gain[4:].mean() < 0.92:  # either has what the other lacks: compression takes and adds
        return None, False
    return ("additions" if gains.coherence[1] < 0.9 else "noise"), True


def _have_other_colours(gains: _Gains) -> bool:
    """Other colours have another luma, except along edges: the coherence grows with the frequency."""
    return bool(gains.coherence[2:6].mean() > gains.coherence[0] + COLOURS_MARGIN)


class _Gains(NamedTuple):
    """By band: amplitude of each picture in terms of the other, 1 where alike; and their coherence."""

    a_in_b: NDArray[np.float64]
    b_in_a: NDArray[np.float64]
    coherence: NDArray[np.float64]
    power_a: NDArray[np.float64]
    """mean of a coefficient"""
    power_b: NDArray[np.float64]


def _has_detail_beyond(finer: NDArray[np.float64], enlarged: NDArray[np.float64], limit: float) -> bool:
    """Whether a picture has power beyond a frequency that the coarser one, enlarged to its grid, has not; both by band,
    for a coefficient."""
    middles = (np.array(BANDS[1:]) + np.array(BANDS[:-1])) / 2
    beyond = (middles > 1.15 * limit) & (middles <= 2 * limit)
    if not beyond.any():
        return True
    return bool(finer[beyond].mean() > REAL_DETAIL_MIN * enlarged[beyond].mean())


def _reach(gain: NDArray[np.float64]) -> float:
    """The frequency up to which a picture has the other's detail, cycles a pixel."""
    lost = np.flatnonzero(gain < 0.5)
    return BANDS[2 + int(lost[0])] if len(lost) else BANDS[-1]


def _gains(laid: Laid) -> _Gains | None:
    """Means over windows of the shared part; None where it is too small."""
    rows, columns = (np.flatnonzero(laid.valid.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = int(min(WINDOW, bottom - top, right - left)) // 2 * 2
    if side < 48:
        return None
    layout = _layout(side)
    powers = np.zeros((3, side, side), np.float32)
    windows = Counter(product(_places(top, bottom - side), _places(left, right - side)))
    for (y, x), number in windows.items():  # a picture no larger than a window has one, nine times
        window = slice(y, y + side), slice(x, x + side)
        if np.count_nonzero(laid.valid[window]) < 0.98 * side * side:
            continue
        a, b = (cv2.dft((each[window] - each[window].mean()) * layout.taper) for each in (laid.a, laid.b))
        for power, one, other in zip(powers, (a, b, a), (a, b, b), strict=True):
            cv2.accumulateProduct(one if number == 1 else number * one, other, power)
    in_order = powers.reshape(3, -1).take(layout.order, axis=1)
    aa, bb, ab = np.add.reduceat(in_order * layout.times, layout.starts, axis=1, dtype=np.float64)
    if aa[0] <= 0 or bb[0] <= 0 or ab[0] <= 0.3 * math.sqrt(aa[0] * bb[0]):
        return None  # not well laid on each other
    a_in_b, b_in_a = ab / np.maximum(bb, 1e-9), ab / np.maximum(aa, 1e-9)
    coherence = ab**2 / np.maximum(aa * bb, 1e-9)
    return _Gains(a_in_b / a_in_b[0], b_in_a / b_in_a[0], coherence, aa / layout.counts, bb / layout.counts)


def _places(first: int, last: int) -> list[int]:
    return [int(place) for place in np.linspace(first, last, 3)]


class _Transform(NamedTuple):
    """How OpenCV packs the transform of a window.

    A coefficient is a real and an imaginary number, and products of two pictures' numbers add up to the real part of
    the products of their coefficients. Half of the coefficients are given, since the others are the same; in the first
    column, where the numbers lie below each other, half of that half."""

    taper: NDArray[np.float32]
    """[side, side]"""
    order: NDArray[np.intp]
    """the numbers of the compared bands, band after band"""
    times: NDArray[np.float32]
    """how often each of these counts"""
    starts: NDArray[np.intp]
    """the place in the order at which each band begins"""
    counts: NDArray[np.float64]
    """coefficients of each band"""


@lru_cache(maxsize=1)
def _layout(side: int) -> _Transform:
    down = np.abs(np.fft.fftfreq(side))[:, np.newaxis]
    across = np.fft.rfftfreq(side)[(np.arange(side) + 1) // 2]
    frequency = np.hypot(down, across)
    frequency[:, 0] = across
    times = np.ones((side, side), np.float32)
    times[:, 0] = 2
    band = np.digitize(frequency, BANDS).ravel()
    number = np.arange(1, len(BANDS))
    order = np.argsort(band, kind="stable")
    starts = np.searchsorted(band[order], [*number, len(BANDS)])
    order, starts = order[starts[0] : starts[-1]], starts[:-1] - starts[0]
    counts = np.add.reduceat(times.ravel()[order], starts) / 2
    taper = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    return _Transform(taper, order, times.ravel()[order], starts, counts)

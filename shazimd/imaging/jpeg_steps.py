"""The quantisation steps of a JPEG, seen in its copies.

Coefficients of a JPEG are multiples of its steps. A picture made from the JPEG, whatever it was saved as, has
coefficients near these multiples; the JPEG has none near the steps of its copy. A JPEG of coarse steps, made from
another picture, has the multiples nearest to the coefficients of that picture, and loses too much to be its origin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import Grey, PixelMap, inverted_map, warped

NEAR, NEAR_MARGIN = 0.23, 0.01
"""Median deviation in quantisation steps up to which coefficients lie near those of a JPEG, 0.25 by chance; and by how
much nearer they must lie than the other way round. A median: a logo or words change a part of the blocks alone."""
ROUNDED, ROUNDED_MARGIN = 0.8, 0.2
"""Share of coefficients within half a step of a JPEG's, and its difference to the share the other way round. Of what
a JPEG was made from it is at least 0.97 in 13 of 14 photos, and 0.82 in drawings with grain; of a picture that
lost more than the JPEG, at most 0.65."""
EVEN = 0.25
"""Median deviation of what lies evenly within half a step: a picture nearer than that was not rounded."""
HALF = 0.55
"""Half a step, and the rounding of pixels."""

Steps = NDArray[np.float32]
"""[8, 8]"""


def made_from_other(a: Grey, steps_a: Steps | None, b: Grey, steps_b: Steps | None, there: PixelMap) -> int:
    """1 if the asked picture was made from the known JPEG, -1 if the other way round. 0 if that can't be told: neither
    is a JPEG, or the map is no quarter turn of the whole picture."""
    if not _is_turn(there, a, b):
        return 0
    a_in_b = _fit(b, steps_b, warped(a, there, (b.shape[1], b.shape[0]))[0])
    b_in_a = _fit(a, steps_a, warped(b, inverted_map(there), (a.shape[1], a.shape[0]))[0])
    if min(a_in_b.deviation, b_in_a.deviation) <= NEAR:
        nearer = b_in_a.deviation - a_in_b.deviation
        return 0 if abs(nearer) < NEAR_MARGIN else (1 if nearer > 0 else -1)
    return _is_rounded(b_in_a, a_in_b) - _is_rounded(a_in_b, b_in_a)


class _Fit(NamedTuple):
    """How the coefficients of a picture lie about those of a JPEG, in the JPEG's steps."""

    deviation: float
    """median"""
    within: float
    """share within half a step"""


NO_FIT = _Fit(math.inf, 0.0)


def _is_rounded(other_in_jpeg: _Fit, jpeg_in_other: _Fit) -> bool:
    within = other_in_jpeg.within
    return within >= ROUNDED and within - jpeg_in_other.within > ROUNDED_MARGIN and other_in_jpeg.deviation >= EVEN


def _is_turn(there: PixelMap, a: Grey, b: Grey) -> bool:
    linear = np.abs(there[:2, :2])
    quarter = np.allclose(linear, np.eye(2), atol=1e-4) or np.allclose(linear, np.eye(2)[::-1], atol=1e-4)
    return quarter and a.size == b.size and not there[2, :2].any()


def _fit(jpeg: Grey, steps: Steps | None, laid: Grey) -> _Fit:
    """The fit of a picture that was laid on a JPEG; NO_FIT for another format. As it is or with fitted tones, whichever
    fits better: a brighter or greyer copy is a copy, and fitted tones of a noisy picture are too flat."""
    if steps is None:
        return NO_FIT
    steps = np.maximum(steps, 1.0)[:, np.newaxis]
    own = _coefficients(jpeg) / steps
    told = np.abs(own) > 0.6
    told[:, 0, :, 0] = False
    if told.sum() < 300:
        return NO_FIT
    offs = (np.abs(own - _coefficients(each) / steps)[told] for each in (laid, _with_tones_of(jpeg, laid)))
    return min(_Fit(float(np.median(off)), float((off < HALF).mean())) for off in offs)


def _coefficients(luma: Grey) -> NDArray[np.float32]:
    """[rows, 8, columns, 8]: the discrete cosine transform of each whole block of 8 x 8 pixels (ITU-T T.81, A.3.3)."""
    rows, columns = luma.shape[0] // 8, luma.shape[1] // 8
    blocks = luma[: 8 * rows, : 8 * columns].reshape(rows, 8, 8 * columns) - np.float32(128)
    return np.asarray((_COSINES @ blocks).reshape(rows, 8, columns, 8) @ _COSINES.T)


_COSINES = np.array(
    [
        [math.sqrt((1 if u == 0 else 2) / 8) * math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)]
        for u in range(8)
    ],
    np.float32,
)


def _with_tones_of(wanted: Grey, picture: Grey) -> Grey:
    """A picture with each of its levels replaced by the mean of the other picture there."""
    levels = np.clip(np.rint(picture), 0, 255).astype(np.intp).ravel()
    count = np.bincount(levels, minlength=256)
    total = np.bincount(levels, wanted.ravel(), 256)
    kept = np.flatnonzero(count >= 20)
    if len(kept) < 8:
        return picture
    curve = np.interp(np.arange(256), kept, total[kept] / count[kept])
    smooth = np.convolve(np.pad(curve, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    level = np.clip(picture, 0, 255)
    below = np.minimum(level.astype(np.intp), 254)
    tones, growth = smooth.astype(np.float32), np.diff(smooth).astype(np.float32)
    return tones[below] + (level - below.astype(np.float32)) * growth[below]

"""The quantisation steps of a JPEG, seen in its copies.

Coefficients of a JPEG are multiples of its steps. A picture made from the JPEG, whatever it was saved as, has
coefficients near these multiples; the JPEG has none near the steps of its copy.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import Affine, Grey, inverted_affine, warped

STEP_RMS_MAX = 0.26
"""Deviation in quantisation steps up to which coefficients lie near those of a JPEG."""
STEP_RMS_MARGIN = 0.012
CHANCE = 12**-0.5
"""Root mean square of what lies evenly within half a step."""

Steps = NDArray[np.float32]
"""[8, 8]"""


def made_from_other(a: Grey, steps_a: Steps | None, b: Grey, steps_b: Steps | None, affine: Affine) -> int:
    """1 if the asked picture was made from the known JPEG, -1 if the other way round. 0 if that can't be told: neither
    is a JPEG, or the map is no quarter turn of the whole picture."""
    if not _is_turn(affine, a, b):
        return 0
    of_a = _deviation(b, steps_b, warped(a, affine, (b.shape[1], b.shape[0]))[0])
    of_b = _deviation(a, steps_a, warped(b, inverted_affine(affine), (a.shape[1], a.shape[0]))[0])
    if min(of_a, of_b) > STEP_RMS_MAX or abs(of_a - of_b) < STEP_RMS_MARGIN:
        return 0
    return 1 if of_a < of_b else -1


def _is_turn(affine: Affine, a: Grey, b: Grey) -> bool:
    linear = np.abs(affine[:, :2])
    quarter = np.allclose(linear, np.eye(2), atol=1e-4) or np.allclose(linear, np.eye(2)[::-1], atol=1e-4)
    return quarter and a.size == b.size


def _deviation(jpeg: Grey, steps: Steps | None, laid: Grey) -> float:
    """How far the coefficients of a picture, laid on a JPEG, are from that JPEG's, in quantisation steps; CHANCE for no
    JPEG. Tones are fitted first: a brighter or greyer copy is a copy."""
    if steps is None:
        return CHANCE
    steps = np.maximum(steps, 1.0)
    own = _coefficients(jpeg) / steps
    theirs = _coefficients(_with_tones_of(jpeg, laid)) / steps
    told = np.abs(own) > 0.6
    told[:, 0, 0] = False
    if told.sum() < 300:
        return CHANCE
    return min(CHANCE, float(np.sqrt(np.mean(np.clip(own[told] - theirs[told], -0.5, 0.5) ** 2))))


def _coefficients(luma: Grey) -> NDArray[np.float64]:
    """[n, 8, 8]: the discrete cosine transform of each whole block of 8 x 8 pixels (ITU-T T.81, A.3.3)."""
    rows, columns = luma.shape[0] // 8, luma.shape[1] // 8
    blocks = luma[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    return np.asarray(_COSINES @ (blocks.astype(np.float64) - 128) @ _COSINES.T)


_COSINES = np.array(
    [
        [math.sqrt((1 if u == 0 else 2) / 8) * math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)]
        for u in range(8)
    ]
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
    return np.interp(picture, np.arange(256), smooth).astype(np.float32)

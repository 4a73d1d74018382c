"""One picture of a pair shows more than the other: a crop, or something around it?

If the picture goes on across the border of the shared part, the smaller one is a crop; if there is a seam along that
border, or one colour around it, the larger one is framed, captioned, turned, tilted or a collage.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import TURN_MIN, Grey, PixelMap, corners_of, placed

AREA_MIN = 0.03
"""Share of a picture's area beyond the other's, from which the areas differ."""
SEAM_MIN = 2.5
"""Contrast across a border, as a multiple of the contrast beside it, from which the border is a seam."""
SEAM_LEVELS = 4.0
"""Grey levels across a seam."""
BUSY_SEAM_MIN = 1.6
"""As ``SEAM_MIN``, for a border of busy pictures across which nothing goes on."""
FLAT = 6.0
"""Grey levels: the standard deviation of one colour, after JPEG."""
FILL_MARGIN = 0.025
"""Of the shorter side: the border of a map is less sure than that."""
FILL_LEVELS, FILL_SHARE = 16.0, 0.9
"""Grey levels from the filling's colour, after noise and JPEG, and the share of pixels around within these."""
FILL_PIXELS_MIN = 100


def area_sign(mine: Grey, theirs: Grey, there: PixelMap) -> str | None:
    """ "crop" if my picture is a part of theirs, "frame" or "corners" if theirs is mine with something around it; None
    if theirs shows no more."""
    corners = placed(corners_of(mine), there)
    shared, _ = cv2.intersectConvexConvex(corners.astype(np.float32), corners_of(theirs).astype(np.float32))
    if shared > (1 - AREA_MIN) * theirs.size:
        return None
    if _is_filled_around(theirs, corners):
        return _filling(there)
    seams = [seam for n in range(4) if (seam := _seam(theirs, corners[n], corners[(n + 1) % 4])) is not None]
    if not seams:  # too near to the border to be measured: only what lies around
        return "frame" if _is_flat_around(theirs, corners) else "crop"
    if float(np.median(seams)) < SEAM_MIN:
        return "crop"
    return _filling(there)


def _filling(there: PixelMap) -> str:
    turn = math.degrees(math.atan2(there[1, 0], there[0, 0]))
    is_straight = abs(turn - 90 * round(turn / 90)) < TURN_MIN and not there[2, :2].any()
    return "frame" if is_straight else "corners"


def _is_filled_around(picture: Grey, corners: NDArray[np.float64]) -> bool:
    """Whether one colour lies around a quadrilateral, and others along its inner side."""
    margin = max(3, round(FILL_MARGIN * min(picture.shape)))
    within = np.zeros(picture.shape, np.uint8)
    cv2.fillConvexPoly(within, np.rint(corners).astype(np.int32), 1)
    # Outside of the picture is no border: the nearest pixel counts there, as OpenCV's default does.
    near, far = (cv2.erode(within, np.ones((2 * n + 1, 2 * n + 1))) for n in (margin, margin * 3))
    around = picture[cv2.dilate(within, np.ones((2 * margin + 1, 2 * margin + 1))) == 0]
    along = picture[(near == 1) & (far == 0)]
    if len(around) < FILL_PIXELS_MIN or len(along) < FILL_PIXELS_MIN:
        return False
    fill = np.median(around)
    outside, inside = (float((np.abs(each - fill) < FILL_LEVELS).mean()) for each in (around, along))
    return outside > FILL_SHARE and inside < 0.5


def _is_flat_around(picture: Grey, corners: NDArray[np.float64]) -> bool:
    around = np.ones(picture.shape, np.uint8)
    cv2.fillConvexPoly(around, np.rint(corners).astype(np.int32), 0)
    values = picture[cv2.erode(around, np.ones((2, 2))).astype(bool)]
    return len(values) > 0 and float(values.std()) < FLAT


def _seam(picture: Grey, start: NDArray[np.float64], end: NDArray[np.float64]) -> float | None:
    """The contrast across a line, as a multiple of that across parallel lines; None for a line that is not well inside
    the picture."""
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([along[1], -along[0]])
    steps = np.linspace(0.08, 0.92, 200)[:, None]
    line = start + steps * (end - start)
    offsets = np.arange(-14, 15)
    points = line[None] + offsets[:, None, None] * across
    height, width = picture.shape
    inside = ((points >= 1) & (points <= [width - 2, height - 2])).all(axis=(0, 2))
    if inside.sum() < 60:
        return None
    kept = points[:, inside].astype(np.float32)
    values = cv2.remap(picture, kept[..., 0], kept[..., 1], cv2.INTER_LINEAR)
    # At most places of the line: an edge that only crosses it is no seam.
    contrast = np.percentile(np.abs(values[3:] - values[:-3]), 40, axis=1)
    middle = slice(len(contrast) // 2 - 5, len(contrast) // 2 + 6)
    ratio = float(contrast[middle].max() / (np.median(contrast) + 1.0))
    centred = values - values.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1)) + 1.0
    alike = (centred[3:] * centred[:-3]).mean(axis=1) / (spread[3:] * spread[:-3])
    broken_below = 0.5 if np.median(alike) > 0.75 else (0.0 if ratio > BUSY_SEAM_MIN else -1.0)
    is_broken = contrast[middle].max() > SEAM_LEVELS and alike[middle].min() < broken_below
    return max(ratio, SEAM_MIN) if is_broken else ratio

"""Half-transparent words that an edit laid across one of two aligned pictures, found in their difference.

Words are strokes: a grey opening of the difference removes them, and keeps the ground. They lie all over the picture,
brighten it or darken it and never both, and what they cover shows through. Other content does not: two texts have
strokes of both signs, and cover what is below.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask

_STROKE_MAX = 9
"""Pixels: a stroke is thinner."""
_LEVELS_MIN = 4
"""Grey levels by which a stroke is brighter, or darker, than what it covers."""
_SHARE_MIN, _SHARE_MAX = 0.015, 0.5
"""Of the overlap that strokes cover."""
_OTHER_SIGN_MAX = 0.2
"""Strokes of the other sign, as a share: JPEG surrounds a stroke with some."""
_COVER_MAX = 0.5
"""Of the way to white or black, for nine of ten pixels inside of the strokes. On the tuned seed words have .39 at most;
of two faces that were laid on each other a little wrongly, the edges have .65 at least."""
_EXTENT_MIN, _STROKES_MIN = 0.5, 4
"""The share of both sides of the overlap over which the strokes lie, and how many there are."""


def without_words(both: Aligned) -> Aligned | None:
    """The same pictures without half-transparent words; None where there are none."""
    difference = both.query.astype(np.int16) - both.match
    sides = [int(((sign * difference >= _LEVELS_MIN) & both.inside).sum()) for sign in (1, -1)]
    sign = 1 if sides[0] > sides[1] else -1
    top = _strokes(sign * difference)
    mask = (top >= _LEVELS_MIN) & both.inside
    if min(sides) > _OTHER_SIGN_MAX * mask.sum() or not _is_all_over(mask, both.inside):
        return None
    if not _shows_through(both, top, mask, sign):
        return None
    plain = both.query - sign * top
    return replace(both, query=np.clip(plain, 0, 255).astype(np.uint8))


def _strokes(difference: NDArray[np.int16]) -> NDArray[np.int16]:
    """How far each pixel rises above the ground around it."""
    kernel = np.ones((_STROKE_MAX, _STROKE_MAX), np.uint8)
    return cv2.morphologyEx(difference, cv2.MORPH_TOPHAT, kernel).astype(np.int16, copy=False)


def _is_all_over(mask: Mask, inside: Mask) -> bool:
    if not _SHARE_MIN * inside.sum() <= mask.sum() <= _SHARE_MAX * inside.sum():
        return False
    count, _ = cv2.connectedComponents(mask.astype(np.uint8))
    extents = [_extent(mask, axis) / max(1, _extent(inside, axis)) for axis in (0, 1)]
    return count > _STROKES_MIN and min(extents) >= _EXTENT_MIN


def _extent(mask: Mask, axis: int) -> int:
    lines = np.flatnonzero(mask.any(axis=axis))
    return int(lines[-1] - lines[0]) + 1 if len(lines) else 0


def _shows_through(both: Aligned, top: NDArray[np.int16], mask: Mask, sign: int) -> bool:
    """Whether the strokes are white ones over one picture, or black ones over the other, and none of them hides it."""
    bright, dark = (both.query, both.match) if sign > 0 else (both.match, both.query)
    within = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not within.any():
        return False
    rises = top[within].astype(np.float32)
    covers = rises / np.maximum(1, 255 - dark[within].astype(np.float32)), rises / np.maximum(1, bright[within])
    return min(float(np.quantile(cover, 0.9)) for cover in covers) <= _COVER_MAX

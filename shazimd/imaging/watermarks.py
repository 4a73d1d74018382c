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
_SHARE_MIN, _SHARE_MAX = 0.025, 0.5
"""Of the overlap that strokes cover. JPEG and a mouth that lies half a pixel lower cover .017; words on the tuned seed
cover .13 at least."""
_OTHER_SIGN_MAX = 0.2
"""Strokes of the other sign, as a share: JPEG surrounds a stroke with some."""
_OTHER_SIDE_MAX = 0.25
"""The same of all that differs, on a side of 192 pixels. On the tuned seed terminals, slides and tickets under words
have .19 at most, other pictures of one template .33 at least."""
_LEFT_LEVELS, _LEFT_PIXELS = 24, 4
"""Grey levels and pixels: of seven marked terminals of the tuned seeds all have at most so many left. With three other
words four have 8 at least; the other three are missed, since what is left depends on what was kept of the pictures."""
_COVER_MAX = 0.5
"""Of the way to white or black, for nine of ten pixels inside of the strokes. On the tuned seed words have .39 at most;
of two faces that were laid on each other a little wrongly, the edges have .65 at least."""
_EXTENT_MIN, _STROKES_MIN = 0.5, 4
"""The share of both sides of the overlap over which the strokes lie, and how many there are."""


def without_words(both: Aligned) -> Aligned | None:
    """The same pictures without half-transparent words; None where there are none."""
    difference = both.query.astype(np.int16) - both.match
    sides = _sides(difference, both.inside)
    sign = 1 if sides[0] > sides[1] else -1
    top = _strokes(sign * difference)
    mask = (top >= _LEVELS_MIN) & both.inside
    if min(sides) > _OTHER_SIGN_MAX * mask.sum() or not _is_all_over(mask, both.inside):
        return None
    most = _covered_at_most(both, top, mask, sign)
    if most is None:
        return None
    plain = both.query - sign * np.minimum(top, most)
    return replace(both, query=np.clip(plain, 0, 255).astype(np.uint8))


def may_have_words(coarse: Aligned) -> bool:
    """Whether one picture is the brighter one nearly everywhere that they differ; a quick look before
    ``without_words``, at a resolution that blurs away what JPEG leaves around strokes."""
    sides = _sides(coarse.query.astype(np.int16) - coarse.match, coarse.inside)
    return min(sides) <= _OTHER_SIDE_MAX * max(sides)


def has_other_strokes(plain: Aligned) -> bool:
    """Whether strokes are left where words were taken away from: those of the one picture may have been taken for some
    of the words, those of the other are still there."""
    difference = plain.query.astype(np.int16) - plain.match
    left = [(_strokes(sign * difference) >= _LEFT_LEVELS) & plain.inside for sign in (1, -1)]
    return int(np.count_nonzero(left[0] | left[1])) > _LEFT_PIXELS


def _sides(difference: NDArray[np.int16], inside: Mask) -> tuple[int, int]:
    """How many pixels are brighter, and darker, in the query."""
    brighter, darker = (((sign * difference >= _LEVELS_MIN) & inside).sum() for sign in (1, -1))
    return int(brighter), int(darker)


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


def _covered_at_most(both: Aligned, top: NDArray[np.int16], mask: Mask, sign: int) -> NDArray[np.int16] | None:
    """By how many grey levels white words over one picture, or black ones over the other, change each pixel at most;
    None where the strokes hide what is below."""
    bright, dark = (both.query, both.match) if sign > 0 else (both.match, both.query)
    within = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not within.any():
        return None
    ways = [np.maximum(1, way).astype(np.int16) for way in (255 - dark, bright)]
    covers = [float(np.quantile(top[within] / way[within], 0.9)) for way in ways]
    number = int(np.argmin(covers))
    return (_COVER_MAX * ways[number]).astype(np.int16) if covers[number] <= _COVER_MAX else None

"""A stamp or logo that an edit laid over print: one filled patch in one of two aligned drawings.

An addition to one of the pictures is an edit, and covers what is below. On flat ground the other picture has nothing
there to be replaced; under a stamp it may have print, or the corner of a table. The patch is one place, small and
compact, mostly of one tone, and the other picture has its ground around and below. A photograph, an icon or other words
there have no such ground, or no fill.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from shazimd.imaging.alignment import Aligned, Mask, Plane
from shazimd.imaging.tones import gained_query
from shazimd.types import Differences

_SHARES, _SIDE_MAX, _FILL_MIN = (0.004, 0.07), 0.4, 0.5
"""The box of the patch as a share of the overlap, its sides as shares of the picture's, and the part of it that is
filled: a disc has .79."""
_TONE_MIN, _BELOW_MIN, _AROUND_MIN = 0.3, 0.5, 0.3
"""The share of the commonest tone in the patch, and of the ground's below it and in the ring. On tuned seeds discs with
a letter over forms, tickets, slides and puzzles have .35, .54 and .37 at least, two soft discs .43, .46 and .33."""
_LEVELS, _SAME_LEVELS = 16, 8
"""Grey levels by which the patch differs from the other picture, and by which two grounds may."""
_AROUND, _REACH = 6, 13
"""Pixels: the ring that tells the ground, in which strokes are felt, too, and the side of the square around each pixel
of the patch that is not compared."""


def may_be_stamp(found: Differences, side_max: float = _SIDE_MAX) -> bool:
    """Whether all that differs lies in one small place, with sides of this share of the picture's at most."""
    left, top, right, bottom = _bounds(found)
    return max(right - left, bottom - top) <= side_max and (right - left) * (bottom - top) <= _SHARES[1]


def without_stamp(both: Aligned, found: Differences) -> Aligned | None:
    """The same pictures without the patch in which the differences lie; None where there is no such patch."""
    if not may_be_stamp(found):
        return None
    query = gained_query(both)
    unlike = (cv2.absdiff(query, both.match) >= _LEVELS) & both.inside
    closed = cv2.morphologyEx(unlike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    height, width = closed.shape
    left, top, right, bottom = (np.array(_bounds(found)) * (width, height, width, height)).round().astype(int)
    there = labels[max(0, top - _AROUND) : bottom + _AROUND, max(0, left - _AROUND) : right + _AROUND]
    counts = np.bincount(there.ravel(), minlength=len(stats))[1:]
    if not counts.any():
        return None
    number = int(counts.argmax()) + 1
    if not _is_compact(stats[number].tolist(), int(np.count_nonzero(both.inside)), (width, height)):
        return None
    patch = np.asarray(labels == number)
    if not (_covers(query, both.match, patch) or _covers(both.match, query, patch)):
        return None
    reach = cv2.dilate(patch.astype(np.uint8), np.ones((_REACH, _REACH), np.uint8)) > 0
    return replace(both, inside=both.inside & ~reach)


def _bounds(found: Differences) -> tuple[float, float, float, float]:
    left, top, right, bottom = zip(*(match for _, match in found.regions), strict=True)
    return min(left), min(top), max(right), max(bottom)


def _is_compact(stats: list[int], overlap: int, size: tuple[int, int]) -> bool:
    _, _, width, height, area = stats
    share = width * height / overlap
    is_small = _SHARES[0] <= share <= _SHARES[1] and max(width / size[0], height / size[1]) <= _SIDE_MAX
    return is_small and area >= _FILL_MIN * width * height


def _covers(one: Plane, other: Plane, patch: Mask) -> bool:
    """Whether the one picture is filled there, and the other has the ground there that both have around it."""
    near = cv2.dilate(patch.astype(np.uint8), np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8)) > 0
    filled, fill = _commonest(one[patch])
    below, ground = _commonest(other[patch])
    ring = [np.abs(side[near & ~patch].astype(np.int16) - below) <= _SAME_LEVELS for side in (one, other)]
    around = min(float(each.mean()) for each in ring)
    return abs(filled - below) >= _LEVELS and fill >= _TONE_MIN and ground >= _BELOW_MIN and around >= _AROUND_MIN


def _commonest(levels: Plane) -> tuple[int, float]:
    """The commonest tone, eight grey levels, and its share."""
    tones = np.bincount(levels // 4, minlength=64)
    pairs = tones[:-1] + tones[1:]
    return 4 * int(pairs.argmax()) + 4, float(pairs.max() / max(1, tones.sum()))

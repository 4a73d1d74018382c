"""Stickers laid over a picture on flat ground by an edit: discs and emoji, in colours the other picture lacks.

In luma a yellow disc on a light floor is a few strokes; in colour it is a patch, filled and of a single tone, and the
ground goes on below. Apart from such patches, all of them on the same picture, no colour may differ: on two cartons of
a brand other things have other colours, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from shazimd.imaging.alignment import Aligned, Mask, Plane, as_plane

_LEVELS, _SAME_LEVELS = 14, 8
"""Levels of Cr or Cb by which a sticker differs from the ground around, and by which the ground below may differ."""
_SHARES, _FILL_MIN, _STRETCH_MAX = (0.006, 0.13), 0.6, 2.2
"""A patch as a share of the overlap, the filled part of its box, and the longer side of the box as a multiple of the
shorter: two for a disc over part of another."""
_TONE_MIN = 0.4
"""The share of a sticker's commonest colour: of 140 on tuned photos .45 at least, as the picture is kept."""
_REST_MAX = 0.004
"""The share of the overlap differing in colour at most besides stickers."""
_CLOSED, _RIM, _RING = (np.ones((side, side), np.uint8) for side in (5, 5, 9))
"""Pixels: gaps in a patch, its edge, and the ring around, which tells the ground."""
_CELL, _CELLS = 4, 64
"""Levels of Cr and Cb in a cell, and cells."""


class _Tone(NamedTuple):
    level: tuple[int, int]
    """Cr and Cb"""
    share: float


def without_stickers(both: Aligned) -> Aligned | None:
    """The same pictures without the stickers on either of them; None without any, or with other colours besides."""
    ours, theirs, _ = both.colours(both.inside, 1)
    apart = cv2.max(*(cv2.absdiff(*pair) for pair in zip(ours, theirs, strict=True)))
    other = cv2.morphologyEx(((apart >= _LEVELS) & both.inside).view(np.uint8), cv2.MORPH_CLOSE, _CLOSED)
    other = as_plane(cv2.morphologyEx(other, cv2.MORPH_OPEN, _CLOSED))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(other, ltype=cv2.CV_16U)
    overlap, found = np.count_nonzero(both.inside), {0: np.zeros_like(both.inside), 1: np.zeros_like(both.inside)}
    for number, (_, _, width, height, area) in enumerate(stats.tolist()[1:], 1):
        is_round = area >= _FILL_MIN * width * height and max(width, height) <= _STRETCH_MAX * min(width, height)
        if is_round and _SHARES[0] <= area / overlap <= _SHARES[1]:
            patch = np.asarray(labels == number)
            for side in _stuck_on(patch, (ours, theirs), both.inside):
                found[side] |= patch
    stickers = cv2.dilate((found[0] | found[1]).view(np.uint8), _RIM).view(np.bool_)
    rest = np.count_nonzero((other > 0) & ~stickers)
    if found[0].any() == found[1].any() or rest > _REST_MAX * overlap:
        return None
    return replace(both, inside=both.inside & ~stickers)


def _stuck_on(patch: Mask, sides: tuple[list[Plane], list[Plane]], inside: Mask) -> list[int]:
    """The pictures (0 the query, 1 the match) on which a patch is a sticker: one at most."""
    grown = [cv2.dilate(patch.view(np.uint8), reach) > 0 for reach in (_RIM, _RING)]
    ring, core = grown[1] & ~grown[0] & inside, cv2.erode(patch.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not ring.any() or not core.any():
        return []
    within, around = ([_commonest(side, where) for side in sides] for where in (core, ring))
    far = [_distance(*pair) for pair in zip(within, around, strict=True)]
    return [
        side
        for side in (0, 1)
        if within[side].share >= _TONE_MIN and far[side] >= _LEVELS and far[1 - side] <= _SAME_LEVELS
    ]


def _commonest(colours: list[Plane], where: Mask) -> _Tone:
    """The commonest colour of the pixels, within two cells of Cr and of Cb."""
    red, blue = (plane[where].astype(np.intp) // _CELL for plane in colours)
    cells = np.bincount(red * _CELLS + blue, minlength=_CELLS**2).reshape(_CELLS, _CELLS)
    counts = cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]
    row, column = divmod(int(counts.argmax()), _CELLS - 1)
    return _Tone((_CELL * (row + 1), _CELL * (column + 1)), float(counts.max() / max(1, cells.sum())))


def _distance(one: _Tone, other: _Tone) -> int:
    return max(abs(a - b) for a, b in zip(one.level, other.level, strict=True))

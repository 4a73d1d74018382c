"""Other pictures in one frame: of two aligned photographs one upright box is other, and all around it is the same.

The frame may be what agrees, and all that has features: garments of like tones before like floors, in one ornate frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.agreement import structured_blocks
from shazimd.imaging.alignment import Aligned, Mask
from shazimd.imaging.regions import places
from shazimd.imaging.tones import gained_query, same_tones
from shazimd.types import Differences

_BLOCK, _SAME_LEVELS, _OTHER_MIN = 8, 4, 0.4
"""Pixels, the sides of a block; grey levels by which pixels differ that show the same; the share of the others, from
which on a block is other."""
_BOX_MIN, _IN_MIN, _AROUND_MAX, _CORRELATION_MAX = 0.2, 0.5, 0.02, 0.5
"""Shares of all blocks, of those in the box and of those around it that are other, and the median correlation in the
box. Of 1,212 edits of 14 tuned photos, words and stickers have .045 around a box of this size at least, and the rest
correlates by .88 at least; of 15 pairs of tuned photos in one frame the most are .009, and .42."""

_PASTED_MAX, _MARGINS_APART = 0.4, 2
"""The share up to which a box may be a picture that an edit pasted over another, and the blocks by which opposite
margins of a frame may differ: it is as wide on both sides."""

_SCREENED_MIN = _BOX_MIN * _IN_MIN * _OTHER_MIN / 2
"""The share of pixels of another tone, below which no such box can be: half of what the box needs, for a part of the
overlap lies in no whole block."""


def other_picture(both: Aligned) -> Differences | None:
    """The box in which the pictures show something else, None unless all around it is the same."""
    may_be = (cv2.absdiff(gained_query(both), both.match) > _SAME_LEVELS) & both.inside
    if np.count_nonzero(may_be) < _SCREENED_MIN * np.count_nonzero(both.inside):
        return None
    other = both.inside & ~same_tones(both, _SAME_LEVELS)
    known = _shares(both.inside) == 1
    is_other = (_shares(other) >= _OTHER_MIN) & known
    all_blocks, all_others = int(np.count_nonzero(known)), int(np.count_nonzero(is_other))
    if all_others < max(1, _BOX_MIN * _IN_MIN * all_blocks):
        return None
    closed = cv2.morphologyEx(is_other.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed)
    left, top, width, height = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), :4].tolist()
    box = slice(top, top + height), slice(left, left + width)
    blocks, others = int(np.count_nonzero(known[box])), int(np.count_nonzero(is_other[box]))
    rows, columns = known.shape
    is_bar = height == rows or width == columns
    is_centred = max(abs(2 * left + width - columns), abs(2 * top + height - rows)) <= _MARGINS_APART
    least = _BOX_MIN if is_centred else _PASTED_MAX
    if is_bar or blocks < least * all_blocks or others < _IN_MIN * blocks:
        return None
    if all_others - others > _AROUND_MAX * (all_blocks - blocks):
        return None
    # The outermost blocks show the frame, too.
    pixels = tuple(slice(_BLOCK * (side.start + 1), _BLOCK * (side.stop - 1)) for side in box)
    correlations = structured_blocks(both.query[pixels], both.match[pixels], both.inside[pixels])
    if not len(correlations) or np.median(correlations) > _CORRELATION_MAX:
        return None
    return Differences(others / all_blocks, places(both, _BLOCK * np.array([[left, top, width, height]], np.float64)))


def _shares(mask: Mask) -> NDArray[np.float64]:
    """[h, w]: how much of each block is set."""
    rows, columns = (side // _BLOCK for side in mask.shape)
    whole = mask[: rows * _BLOCK, : columns * _BLOCK]
    return np.asarray(whole.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3)))

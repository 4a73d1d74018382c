"""Things shown once more by a drawing than by the other: dots of a domino, pips of a card, points of a chart.

Something in either picture alone is an addition, such as a stamp, and leaves a copy. An edit has no cause, though, to
add the very thing shown elsewhere by the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned
from shazimd.imaging.regions import places, regions
from shazimd.imaging.unlike import unlike_pixels
from shazimd.types import Differences

_PIXELS_MIN, _SIDES, _THINGS_MAX = 40, (8, 64), 3
"""Pixels of a thing, and of the sides of its box; so many things, the largest, are looked for elsewhere."""
_SPREAD_MIN, _QUIET_MAX = 25.0, 6.0
"""Grey levels, standard deviation: of the thing, and of the ground in the picture without the thing."""
_AROUND = 3
"""Pixels of the ground around a thing, looked for with the thing."""
_SAME_MIN, _ADDED_MAX = 0.985, 8
"""Correlation of a thing and another of the same shape and size, and additions from which on they are a watermark's:
its letters over the modules of a code reach .972, in 26 additions at least; dots have .995."""


def repeated_things(both: Aligned) -> Differences | None:
    """The places of things lacking in either drawing, and shown elsewhere by the same drawing; None without any."""
    sides = [side & both.inside for side in unlike_pixels(both, toned=False)]
    if max(np.count_nonzero(side) for side in sides) < _PIXELS_MIN:
        return None
    found = regions(both, *sides)
    quiet = found.spread <= _QUIET_MAX
    if np.count_nonzero(quiet.sum(axis=0) == 1) > _ADDED_MAX:
        return None
    shorter, longer = found.boxes[:, 2:].min(axis=1), found.boxes[:, 2:].max(axis=1)
    thing = (quiet.sum(axis=0) == 1) & (found.spread.max(axis=0) >= _SPREAD_MIN) & (found.pixels >= _PIXELS_MIN)
    thing &= (shorter >= _SIDES[0]) & (longer <= _SIDES[1])
    largest = [number for number in np.argsort(-found.area, kind="stable").tolist() if thing[number]][:_THINGS_MAX]
    pictures = both.query, both.match
    chosen = []
    for number in largest:
        lacking = int(quiet[1, number])
        if _is_in(pictures[lacking], pictures[1 - lacking], found.boxes[number]):
            chosen.append(number)
    if not chosen:
        return None
    share = float(found.pixels[chosen].sum() / np.count_nonzero(both.inside))
    return Differences(min(1.0, share), places(both, found.boxes[chosen].astype(np.float64)))


def _is_in(picture: NDArray[np.uint8], other: NDArray[np.uint8], box: NDArray[np.int64]) -> bool:
    """Whether a picture shows anywhere the thing in a box of the other."""
    left, top, width, height = box.tolist()
    left, top, right, bottom = left - _AROUND, top - _AROUND, left + width + _AROUND, top + height + _AROUND
    thing = other[max(0, top) : bottom, max(0, left) : right]
    return float(cv2.matchTemplate(picture, thing, cv2.TM_CCOEFF_NORMED).max()) >= _SAME_MIN

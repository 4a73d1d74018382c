"""Of which of two variants is a picture a copy? Of the nearer variant in the places in which the two differ.

An edit may take away the differences of two pictures of a template, such as the figures of an invoice, and then passes
for a copy of both. If both are known, the places in which they differ are known, too. There the edited picture
is nearer to its own original: 101 edited invoices, statements and letters of two tuned seeds were called copies of
another original, and all were nearer to their own, all but two of them by a fifth.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from shazimd.imaging.alignment import Aligned
from shazimd.imaging.regions import places
from shazimd.imaging.tones import gained_query
from shazimd.types import Box, Differences

_PLAINLY = 0.8
"""The nearer one's miss as a part of the other's, at most."""
_MARGIN, _SHIFT = 2, 4
"""Pixels that a place is enlarged by, and by which its content may be moved: the map of few features is not exact."""
_SHOWN_MIN = 0.7
"""The part of a place that both pictures must show."""


def outdone(one: Aligned, other: Aligned, between: Differences) -> tuple[int, Differences] | None:
    """The one (0) or the other (1) of two variants that a picture, laid on each, plainly agrees less with than with its
    rival, and the places in which it differs; None if it is as near to both. ``between`` leads from the one to the
    other."""
    places_of = tuple(zip(*between.regions, strict=True)) or ((), ())
    misses = [_miss(both, boxes) for both, boxes in zip((one, other), places_of, strict=True)]
    if max(misses) == np.inf or min(misses) >= _PLAINLY * max(misses):
        return None
    worse = misses.index(max(misses))
    both, boxes = (one, other)[worse], np.array(places_of[worse]) * np.tile((one, other)[worse].match.shape[::-1], 2)
    boxes[:, 2:] -= boxes[:, :2]
    return worse, Differences(between.share, places(both, boxes))


def _miss(both: Aligned, boxes: Iterable[Box]) -> float:
    """The mean square of the difference within the boxes, grey levels; infinite if none of them is shown."""
    query, (height, width) = gained_query(both), both.match.shape
    total, pixels = 0.0, 0
    for left, top, right, bottom in boxes:
        rows = max(0, int(top * height) - _MARGIN), int(np.ceil(bottom * height)) + _MARGIN
        columns = max(0, int(left * width) - _MARGIN), int(np.ceil(right * width)) + _MARGIN
        place = both.match[slice(*rows), slice(*columns)]
        if not place.size or both.inside[slice(*rows), slice(*columns)].mean() < _SHOWN_MIN:
            continue
        near = query[max(0, rows[0] - _SHIFT) : rows[1] + _SHIFT, max(0, columns[0] - _SHIFT) : columns[1] + _SHIFT]
        total += float(cv2.matchTemplate(near, place, cv2.TM_SQDIFF).min())
        pixels += place.size
    return total / pixels if pixels else np.inf

"""Of which of two variants is a picture a copy? Of the nearer variant in the places in which the two differ.

An edit may take away the differences of two pictures of a template, such as the figures of an invoice, and then passes
for a copy of both. If both are known, the places in which they differ are known, too. There the edited picture
is nearer to its own original: 101 edited invoices, statements and letters of two tuned seeds were called copies of
another original, and all were nearer to their own, all but two of them by a fifth.

Drawings and plain pictures, such as emoji and flags, may both be laid on the edited picture. Its pixels tell in all
places in which the two differ, however small these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from shazimd.imaging.alignment import Aligned, Mask, Plane, as_plane
from shazimd.imaging.features import Features
from shazimd.imaging.grounds import on_one_ground
from shazimd.imaging.maps import best_map, view
from shazimd.imaging.objects import beyond
from shazimd.imaging.placing import correlation
from shazimd.imaging.regions import REGIONS_MAX, places
from shazimd.imaging.tones import gained, gained_query
from shazimd.imaging.whole import CANDIDATE_MIN, laid_best, whole_views
from shazimd.types import Box, Differences

_PLAINLY = 0.8
"""The nearer one's miss as a part of the other's, at most."""
_MARGIN, _SHIFT = 2, 4
"""Pixels that a place is enlarged by, and by which its content may be moved: the map of few features is not exact."""
_SHOWN_MIN = 0.7
"""The part of a place that both pictures must show."""
_LEVELS, _PIXELS_MIN, _PLAINLY_IN_PIXELS = 2, 16, 0.5
"""Grey levels by which a pixel of one drawing lies beyond what the other has around it, how many there must be, and the
nearer one's miss as a part of the other's, at most: on the tuned seeds it was .08 for emoji and flags."""
_SAME_PLACE = 0.5
"""Of the places of two pictures in the query: what both share, as a part of what either fills, at least."""


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


def outdone_in_pixels(query: Features, pair: Sequence[tuple[Features, bool]]) -> tuple[int, Differences] | None:
    """As ``outdone``, of two known pictures that are no copies of each other, by the pixels in which they differ; None,
    too, if there are hardly any, or if the query shows them in two places, one beside or inside the other. ``pair``:
    each with whether its features found the map."""
    found = [laid for known, is_mapped in pair if (laid := _laid_on(query, known, is_mapped)) is not None]
    if len(found) < len(pair):
        return None
    shown = min((both.match for both, _ in found), key=lambda plane: plane.size)
    insides = [_sized(both.inside.view(np.uint8), shown) == 1 for both, _ in found]
    inside = np.logical_and(*insides)
    if np.count_nonzero(inside) < _SAME_PLACE * np.count_nonzero(np.logical_or(*insides)):
        return None
    one, other = (gained(_sized(both.query, shown), shown, inside) for both, _ in found)
    differ = (cv2.max(beyond(one, other), beyond(other, one)) > _LEVELS) & inside
    if np.count_nonzero(differ) < _PIXELS_MIN:
        return None
    misses = [float(np.square(side[differ].astype(np.float64) - shown[differ]).mean()) for side in (one, other)]
    worse = misses.index(max(misses))
    if correlation(found[1 - worse][0]) < CANDIDATE_MIN or min(misses) >= _PLAINLY_IN_PIXELS * max(misses):
        return None
    return worse, _differences(*found[worse], differ)


def _laid_on(query: Features, known: Features, is_mapped: bool) -> tuple[Aligned, bool] | None:
    """A known picture, or its negative, laid on the query where they correlate best, and whether it is mirrored; None
    without a place."""
    on_ground = on_one_ground(known, query)
    if on_ground is None:
        return None
    known, query = on_ground
    found = None
    for each in (known, known.negated()):
        maps = [best_map(view(one), view(query)) for one in (each, each.mirrored())] if is_mapped else []
        mapped = [(best.affine, bool(mirrored)) for mirrored, best in enumerate(maps) if best is not None]
        laid = laid_best(whole_views(each), query, mapped)
        if laid is not None and correlation(laid[0]) >= CANDIDATE_MIN:
            return laid
        found = found or laid
    return found


def _differences(both: Aligned, is_mirrored: bool, differ: Mask) -> Differences:
    """The places of pixels, from the query to a known picture that is laid on it."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(differ.view(np.uint8), np.ones((5, 5), np.uint8)))
    largest = stats[1:][np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")][:REGIONS_MAX, :4]
    boxes = largest * np.tile(np.divide(both.match.shape[::-1], differ.shape[::-1]), 2)
    found = Differences(float(np.count_nonzero(differ) / differ.size), places(both, boxes))
    return (found.mirrored() if is_mirrored else found).inverted()


def _sized(plane: Plane, other: Plane) -> Plane:
    size = other.shape[1], other.shape[0]
    return plane if plane.shape == other.shape else as_plane(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


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

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
from shazimd.imaging.tones import curved, gained, gained_query
from shazimd.imaging.whole import CANDIDATE_MIN, laid_best, whole_views
from shazimd.types import Box, Differences

_PLAINLY = 0.8
"""The nearer one's miss as a part of the other's, at most."""
_MARGIN, _SHIFT = 2, 4
"""Pixels that a place is enlarged by, and by which its content may be moved: the map of few features is not exact."""
_SHOWN_MIN = 0.7
"""The part of a place that both pictures must show."""
_LEVELS, _PIXELS_MIN, _UNDECIDED = 2, 16, (0.3, 0.7)
"""Grey levels by which a pixel of a drawing lies beyond the levels around the same place of the other, the least number
of such pixels, and the undecided place of the query's pixels between theirs, from 0 (the first drawing) to 1 (the
second): 40 edited emoji and flags are .27 away from their originals at most, but for a flag under a watermark."""
_NEARER = 0.5
"""The nearer drawing's mean square of grey levels left, as a part of the other's, at most: .05 at most in right answers
on the tuned seeds, .69 where the query shows figures too small to be read, which are nearer to one by chance."""
_CLIPPED_RATIO, _CLIPPED_REST = 2, 1.0
"""An edit has clipped tones if the mean square of grey levels left by a gain, of the nearer picture, is more than this
multiple of the mean square left by a curve of tones, and this number more."""
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
    """As ``outdone``, of two known pictures, no copies of each other, by the pixels in which they differ; None, too, if
    there are hardly any, or if the query shows the pictures in two places, side by side or nested. ``pair``: each
    picture, and whether its features found the map."""
    found = [laid for known, is_mapped in pair if (laid := _laid_on(query, known, is_mapped)) is not None]
    if len(found) < len(pair):
        return None
    shown = min((both.match for both, _ in found), key=lambda plane: plane.size)
    insides = [_sized(both.inside.view(np.uint8), shown) == 1 for both, _ in found]
    inside = np.logical_and(*insides)
    if np.count_nonzero(inside) < _SAME_PLACE * np.count_nonzero(np.logical_or(*insides)):
        return None
    planes = [_sized(both.query, shown) for both, _ in found]
    curves, gains = ([adapt(plane, shown, inside) for plane in planes] for adapt in (_curved, gained))
    rests = [min(_rest(plane, shown, inside) for plane in adapted) for adapted in (curves, gains)]
    is_clipped = rests[1] > _CLIPPED_RATIO * rests[0] + _CLIPPED_REST  # else a curve may explain other tones away
    for one, other in (curves, gains) if is_clipped else (gains, curves):
        differ = (cv2.max(beyond(one, other), beyond(other, one)) > _LEVELS) & inside
        worse = _farther(one[differ], other[differ], shown[differ])
        if worse is not None and correlation(found[1 - worse][0]) >= CANDIDATE_MIN:
            return worse, _differences(*found[worse], differ)
    return None


def _rest(plane: Plane, shown: Plane, inside: Mask) -> float:
    return float(np.square(cv2.absdiff(plane, shown)[inside].astype(np.float64)).mean())


def _farther(one: Plane, other: Plane, shown: Plane) -> int | None:
    """The number of the pixels plainly farther from the shown pixels; None of too few, or of both alike. Noise in
    neither does not count."""
    if shown.size < _PIXELS_MIN:
        return None
    between, left = other.astype(np.float64) - one, shown.astype(np.float64) - one
    misses = [float(np.square(each).sum()) for each in (left, left - between)]
    share = float((left * between).sum() / np.square(between).sum())
    if min(misses) > _NEARER * max(misses) or _UNDECIDED[0] <= share <= _UNDECIDED[1]:
        return None
    return int(share < _UNDECIDED[0])


def _curved(plane: Plane, shown: Plane, inside: Mask) -> Plane:
    return as_plane(np.rint(np.clip(curved(plane, shown, inside), 0, 255)))


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

"""Regions in which two aligned pictures are unlike, and the bars at their edges that do not count."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask, Plane, around
from shazimd.types import Box

REGIONS_MAX = 12
"""Regions that are reported, largest first."""
_REACH = 6
"""Pixels around unlike ones of which a region depends."""
_FLAT_SPAN = 6
"""Grey levels within 3 x 3 pixels: flat ground."""
_LEVELS = np.stack([np.arange(256.0), np.arange(256.0) ** 2], axis=1)
"""[256, 2]: grey levels, and their squares."""
_BAR_UNLIKE, _BAR_MIN, _BAR_SHARE_MAX = 0.7, 3, 0.4
"""A bar at the edge: lines of which this share is unlike, at least so many lines, at most this share of the overlap."""

_STAMP_NEAR = 0.06
"""Distance of a stamp from the edge, as a share of the side."""


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Connected places where the pictures are unlike; one entry each, in the order of their labels."""

    boxes: NDArray[np.int64]
    """[n, 4]: left, top, width, height"""
    pixels: NDArray[np.int64]
    """unlike pixels, of either side"""
    common: NDArray[np.int64]
    """unlike pixels of the side that has fewer of them"""
    most: NDArray[np.int64]
    """unlike pixels of the side that has more of them"""
    larger: NDArray[np.int8]
    """that side: 0 the query, 1 the match"""
    area: NDArray[np.int64]
    flat: NDArray[np.float64]
    """[2, n]: share of flat ground in the query and in the match"""
    spread: NDArray[np.float64]
    """[2, n]: standard deviation of the luma in the query and in the match"""
    tone: NDArray[np.float64]
    """[2, n]: share of the commonest tone, eight grey levels, in the query and in the match"""
    labels: NDArray[np.uint16]
    """[h, w]: the number of the region around each pixel, from 1 on; 0 for none"""

    def around(self, chosen: NDArray[np.bool_] | None = None) -> Mask:
        """The pixels in and next to the ``chosen`` regions, all by default."""
        if chosen is not None and not chosen.any():
            return np.zeros(self.labels.shape, bool)
        within = self.labels > 0 if chosen is None else np.concatenate([[False], chosen])[self.labels]
        return cv2.dilate(within.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def regions(both: Aligned, ours: Mask, theirs: Mask) -> Regions:
    """Gather the unlike pixels of the query and of the match into regions."""
    unlike = ours | theirs
    if not unlike.any():
        return _no_regions(unlike.shape)
    there = around(unlike, _REACH)
    found = _regions((both.query[there], both.match[there]), ours[there], theirs[there], unlike[there])
    labels = np.zeros(unlike.shape, np.uint16)
    labels[there] = found.labels
    corner = np.array([there[1].start, there[0].start, 0, 0])
    return replace(found, boxes=found.boxes + corner, labels=labels)


def _no_regions(shape: tuple[int, ...]) -> Regions:
    none, shares = np.zeros(0, np.int64), np.zeros((2, 0))
    boxes, larger = np.zeros((0, 4), np.int64), np.zeros(0, np.int8)
    return Regions(boxes, none, none, none, larger, none, shares, shares, shares, np.zeros(shape, np.uint16))


def _regions(planes: tuple[Plane, Plane], ours: Mask, theirs: Mask, unlike: Mask) -> Regions:
    closed = cv2.morphologyEx(unlike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8, ltype=cv2.CV_16U)
    # Two pixels more all around: a filled bar has its edges there, and its ground.
    widened = cv2.dilate(labels, np.ones((5, 5), np.uint8)).astype(np.uint16, copy=False)
    wide = widened.ravel()
    place = np.flatnonzero(wide > 0)  # of bytes, in a quarter of the time
    label = wide[place].astype(np.intp)
    sizes = np.maximum(1, np.bincount(label, minlength=count))

    flat, spread, tone = [], [], []
    for luma in planes:
        levels = np.bincount(label * 256 + luma.ravel()[place], minlength=256 * count).reshape(count, 256)
        flat.append(np.bincount(label[_span(luma).ravel()[place] <= _FLAT_SPAN], minlength=count) / sizes)
        mean, square = (levels @ _LEVELS).T / sizes
        spread.append(np.sqrt(np.maximum(0, square - mean * mean)))
        tones = levels.reshape(count, 64, 4).sum(axis=2)
        tone.append((tones[:, :-1] + tones[:, 1:]).max(axis=1) / sizes)
    sides = np.array([np.bincount(labels[side], minlength=count) for side in (ours, theirs)])
    either = np.bincount(labels[unlike], minlength=count)
    return Regions(
        boxes=stats[1:, :4].astype(np.int64),
        pixels=either[1:],
        common=sides.min(axis=0)[1:],
        most=sides.max(axis=0)[1:],
        larger=(sides[1] > sides[0])[1:].astype(np.int8),
        area=stats[1:, 4].astype(np.int64),
        flat=np.array(flat)[:, 1:],
        spread=np.array(spread)[:, 1:],
        tone=np.array(tone)[:, 1:],
        labels=widened,
    )


def _span(luma: Plane) -> Plane:
    """Grey levels within 3 x 3 pixels."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.subtract(cv2.dilate(luma, kernel), cv2.erode(luma, kernel)).astype(np.uint8, copy=False)


def without_bars(inside: Mask, unlike: Mask) -> Mask:
    """The overlap without the rows and columns at its edges that agree nearly nowhere: a caption's bar, or a screen
    around a picture of which a part was cut off."""
    if not unlike.any():
        return inside
    kept, shown = inside.copy(), inside.view(np.uint8)
    closed = cv2.min(cv2.morphologyEx(unlike.view(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)), shown)
    for axis in (0, 1):
        known, differ = (
            cv2.reduce(each, 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel().astype(np.float64)
            for each in (shown, closed)
        )
        shares, lines = differ / np.maximum(1, known), np.flatnonzero(known)
        if not len(lines):
            continue
        length = len(lines)
        for ordered in (lines, lines[::-1]):
            bar = _bar_length(shares[ordered])
            if _BAR_MIN <= bar <= _BAR_SHARE_MAX * length:
                index = ordered[: bar + 3]
                kept[(index, slice(None)) if axis == 0 else (slice(None), index)] = False
    return kept


def _bar_length(shares: NDArray[np.float64]) -> int:
    """How many lines from the first on are mostly unlike, on average and at the end."""
    means = np.cumsum(shares) / np.arange(1, len(shares) + 1)
    ends = np.flatnonzero((means > _BAR_UNLIKE) & (shares > _BAR_UNLIKE))
    return int(ends[-1]) + 1 if len(ends) else 0


def boxes_around(mask: Mask) -> list[NDArray[np.generic]]:
    """Left, top, width, height of each connected place, from the top down."""
    if not mask.any():
        return []
    outlines, nesting = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = [outline for outline, (_, _, _, around) in zip(outlines, nesting[0].tolist(), strict=True) if around < 0]
    return [np.array(cv2.boundingRect(outline)) for outline in reversed(outer)]


def is_near_edge(boxes: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether boxes [n, 4] (left, top, width, height) lie as near to the edge of a picture [h, w] as stamps do."""
    height, width = shape
    left, top, right, bottom = boxes.T.astype(np.int64)
    right, bottom = left + right, top + bottom
    near = np.minimum(np.minimum(left, width - right) / width, np.minimum(top, height - bottom) / height)
    return np.asarray(near <= _STAMP_NEAR)


def places(both: Aligned, boxes: NDArray[np.float64]) -> tuple[tuple[Box, Box], ...]:
    """Boxes [n, 4] of the grid as fractions of the query's and of the match's size."""
    left, top, width, height = boxes.T
    corners = np.array([[left, top], [left + width, top], [left, top + height], [left + width, top + height]])
    rows, columns = both.inside.shape
    to_query = both.to_query
    ours = np.einsum("xy,cyn->cxn", to_query[:, :2], corners) + to_query[:, 2, np.newaxis]
    theirs = corners / np.array([[columns], [rows]])
    return tuple(zip(_bounds(ours), _bounds(theirs), strict=True))


def _bounds(corners: NDArray[np.float64]) -> list[Box]:
    """The boxes around corners [4, 2, n], within the picture."""
    bounds = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).T
    return [(left, top, right, bottom) for left, top, right, bottom in np.clip(bounds, 0, 1).round(4).tolist()]

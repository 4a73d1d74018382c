"""Pixels of two aligned pictures that one has and the other lacks, whatever was done to light, contrast and sharpness.

A pixel is unlike where it lies outside of the range that the other picture has in its 3 x 3 neighbourhood, so that
blur, compression and a misplacement of a pixel do not count. The tones of each are first adapted to the other's. Tiles
that are unlike are compared once more where they fit best, for a map may be a little off in places.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask, Plane, as_plane
from shazimd.imaging.tones import curved, gained_match, gained_query, lit

UNLIKE_MIN = 16
"""Grey levels outside of the other picture's range."""
TONES_UNLIKE_MIN = 20
"""Unlike pixels from which on a curve of tones and a slope of light are tried, too."""
_UNLIKE_SHARE = 0.3
"""The same, as a share of the contrast within 9 x 9 pixels: a blurred stroke is paler than a sharp one."""
_TILE, _SHIFT, _TILES_MAX = 16, 3, 48
"""Pixels: the side of a tile, how far away it may fit; at most so many tiles, those with most unlike pixels."""
_TILE_UNLIKE_MIN = 3
_NEAR, _AROUND = np.ones((3, 3), np.uint8), np.ones((9, 9), np.uint8)


class _Side(NamedTuple):
    """A picture's luma, and the range that it has around each pixel."""

    luma: Plane
    low: Plane
    high: Plane
    contrast: Plane
    """of 9 x 9 pixels"""

    @classmethod
    def of(cls, luma: Plane) -> _Side:
        contrast = cv2.subtract(cv2.dilate(luma, _AROUND), cv2.erode(luma, _AROUND))
        return cls(luma, as_plane(cv2.erode(luma, _NEAR)), as_plane(cv2.dilate(luma, _NEAR)), as_plane(contrast))

    def at(self, place: _Place) -> _Side:
        """The pixels of tiles, one below the other."""
        return _Side(*(plane.take(place).reshape(-1, _TILE) for plane in self))


class _Sides:
    """The pictures as they are, and each in the other's tones: an edit that clips tones is undone in one direction
    alone. The second pair is made when the first one is unlike anywhere."""

    def __init__(self, both: Aligned, adapted_query: Plane, adapt_match: Callable[[Aligned], Plane]) -> None:
        self._both = both
        self._adapted_query = adapted_query
        self._adapt_match = adapt_match

    @cached_property
    def one(self) -> tuple[_Side, _Side]:
        """the query in the match's tones, the match"""
        return _Side.of(self._adapted_query), _Side.of(self._both.match)

    @cached_property
    def other(self) -> tuple[_Side, _Side]:
        """the query, the match in the query's tones"""
        return _Side.of(self._both.query), _Side.of(self._adapt_match(self._both))

    def unlike(self, least: int) -> tuple[Mask, Mask]:
        """(pixels of the query that the match lacks, pixels of the match that the query lacks)"""
        inside = self._both.inside
        difference = cv2.absdiff(self._adapted_query, self._both.match)
        if cv2.minMaxLoc(difference, inside.view(np.uint8))[1] <= least:
            return np.zeros_like(inside), np.zeros_like(inside)
        ours, theirs = (side & inside for side in _beyond_each_other(*self.one, least))
        if not (ours.any() or theirs.any()):
            return ours, theirs
        other = _beyond_each_other(*self.other, least)
        return ours & other[0], theirs & other[1]

    def unlike_at(self, there: _Place, here: _Place, least: int) -> tuple[Mask, Mask]:
        """The same for tiles: the query's at one place, the match's at another."""
        one = _beyond_each_other(self.one[0].at(there), self.one[1].at(here), least)
        other = _beyond_each_other(self.other[0].at(there), self.other[1].at(here), least)
        inside = self._both.inside.ravel()[here]
        ours, theirs = ((a & b).reshape(inside.shape) for a, b in zip(one, other, strict=True))
        return ours & inside, theirs & inside


_Place = NDArray[np.intp]
"""[n, side, side]: the numbers of the pixels of n tiles, line by line of the picture."""


@lru_cache(maxsize=1)
def unlike_pixels(both: Aligned, *, toned: bool, least: int = UNLIKE_MIN) -> tuple[Mask, Mask]:
    """(pixels of the query that the match lacks, pixels of the match that the query lacks)

    ``toned``: the tones are those of photographs, which a curve and a slope of light can't explain away. The last pair
    is kept: what is laid over a picture is looked for in the same pixels as other content."""
    sides = _Sides(both, gained_query(both), gained_match)
    ours, theirs = sides.unlike(least)
    if toned and np.count_nonzero(ours | theirs) >= TONES_UNLIKE_MIN:
        lit_query = lit(curved(both.query, both.match, both.inside), both.match, both.inside)
        sides = _Sides(both, lit_query, _lit_match)
        ours, theirs = sides.unlike(least)
    _compare_again(sides, ours, theirs, least)
    ours.flags.writeable = theirs.flags.writeable = False
    return ours, theirs


def _lit_match(both: Aligned) -> Plane:
    return lit(curved(both.match, both.query, both.inside), both.query, both.inside)


def _compare_again(sides: _Sides, ours: Mask, theirs: Mask, least: int) -> None:
    """Compare the tiles with most unlike pixels once more, each where it fits best, and keep what is better."""
    unlike = ours | theirs
    tops, lefts = _most_unlike(unlike) if unlike.any() else (np.empty(0, np.intp), np.empty(0, np.intp))
    if not len(tops):
        return
    places = np.array([_best_place(sides, int(top), int(left)) for top, left in zip(tops, lefts, strict=True)])
    here, there = _pixels(tops, lefts, ours.shape), _pixels(places[:, 0], places[:, 1], ours.shape)
    again = sides.unlike_at(there, here, least)
    better = _counts(again[0] | again[1]) < _counts(unlike.ravel()[here])
    for mask, found in zip((ours, theirs), again, strict=True):
        mask.ravel()[here[better]] = found[better]


def _counts(tiles: Mask) -> NDArray[np.int32]:
    """[n]: how many pixels of each tile [n, side, side] are set."""
    pixels = tiles.reshape(len(tiles), -1).view(np.uint8)
    return np.asarray(cv2.reduce(pixels, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S), np.int32)[:, 0]


def _most_unlike(unlike: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Tops and lefts of the tiles with most unlike pixels."""
    height, width = unlike.shape
    sums = np.asarray(cv2.integral(unlike.view(np.uint8)))
    rows, columns = (np.minimum(np.arange(0, side + _TILE, _TILE), side) for side in (height, width))
    counts = np.diff(np.diff(sums[rows[:, np.newaxis], columns].astype(np.int64), axis=0), axis=1)
    rows, columns = np.nonzero(counts >= _TILE_UNLIKE_MIN)
    most = np.argsort(-counts[rows, columns], kind="stable")[:_TILES_MAX]
    return rows[most] * _TILE, columns[most] * _TILE


def _best_place(sides: _Sides, top: int, left: int) -> tuple[int, int]:
    """Top and left of the query's pixels that are most like a tile of the match."""
    query, match = sides.one
    tile = match.luma[top : top + _TILE, left : left + _TILE]
    upper, outer = max(0, top - _SHIFT), max(0, left - _SHIFT)
    around = query.luma[upper : top + tile.shape[0] + _SHIFT, outer : left + tile.shape[1] + _SHIFT]
    place = cv2.minMaxLoc(cv2.matchTemplate(around, tile, cv2.TM_SQDIFF))[2]
    return upper + place[1], outer + place[0]


def _pixels(tops: NDArray[np.intp], lefts: NDArray[np.intp], shape: tuple[int, ...]) -> _Place:
    """The pixels of tiles; those beyond the edge are the edge's."""
    steps = np.arange(_TILE)
    rows = np.minimum(tops[:, np.newaxis] + steps, shape[0] - 1)
    columns = np.minimum(lefts[:, np.newaxis] + steps, shape[1] - 1)
    return np.asarray(rows[:, :, np.newaxis] * shape[1] + columns[:, np.newaxis, :])


def _beyond_each_other(a: _Side, b: _Side, least: int) -> tuple[Mask, Mask]:
    limit = cv2.LUT(cv2.max(a.contrast, b.contrast), np.maximum(_LIMITS, np.uint8(least)))
    return _beyond(a, b) > limit, _beyond(b, a) > limit


def _beyond(a: _Side, b: _Side) -> Plane:
    """How far each pixel of a lies outside of the range of b around it."""
    return as_plane(cv2.max(cv2.subtract(a.luma, b.high), cv2.subtract(b.low, a.luma)))


_LIMITS = np.round(np.arange(256) * _UNLIKE_SHARE).astype(np.uint8)
"""By contrast."""

"""Lay one small picture on another, on the grid of the coarser one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.features import Features

Affine = NDArray[np.float64]
Colour = NDArray[np.uint8]
"""[h, w, 3]: Y, Cr, Cb"""
Plane = NDArray[np.uint8]
"""[h, w]: luma on the common grid"""
Mask = NDArray[np.bool_]

_SMOOTHING = 0.8
"""Pixels, sigma: the finest detail is JPEG's."""
_HALF = 1.6, 2.3
"""A size that is so many times smaller, and not by a whole number, is made of the smooth picture by interpolation, in a
quarter of the time that averages of areas take. The rest of the smoothing follows."""
_FINER = 1.5
"""Colours of a query that has less than so many times the pixels in a row are moved as they are, and averaged later."""
_SHOWN, _LEVEL = 0.02, 1e-9
"""Pixels by which a place may lie beyond the middle of the outermost pixels and still be that pixel; less than that a
row of the grid does not move from left to right in the query."""
_EDGE = 9
"""Pixels: the border of the overlap is not compared; resampling mixes it with its surroundings, which are those of the
query in a crop and those of the match in a screenshot of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Two pictures on one grid, that of the coarser one."""

    query: Plane
    match: Plane
    inside: Mask
    """where both are known"""
    between: Affine
    """[2, 3]: pixels of the query at the resolution of the grid -> pixels of the grid"""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """(width, height) of the query at that resolution, and of the grid"""
    pictures: tuple[Colour, Colour]
    """the query and the match as they are kept"""
    laid: Plane
    """the query's luma before it was laid on the grid"""

    @property
    def to_query(self) -> Affine:
        """[2, 3]: pixels of the grid -> fractions of the query's size."""
        back = np.asarray(cv2.invertAffineTransform(self.between), np.float64)
        width, height = self.sizes[0]
        return np.diag([1 / width, 1 / height]) @ back

    def moved(self, onward: Affine) -> Aligned:
        """The same after a map [2, 3] of the grid's pixels has been applied to the query, too."""
        between = (np.vstack([onward, [0, 0, 1]]) @ np.vstack([self.between, [0, 0, 1]]))[:2]
        query, inside = _moved(self.laid, between, self.sizes[1]), _overlap(self.sizes, between)
        return replace(self, query=query, inside=inside, between=between)

    def colours(self, counted: Mask, step: int) -> tuple[list[Plane], list[Plane], Mask]:
        """(Cr and Cb of the query, Cr and Cb of the match, the counted pixels), ``step`` times coarser than the grid.

        Lines of the grid that don't fill a step are left out. They are made coarser once they lie on one grid: small
        cells of colour mix with other neighbours otherwise."""
        query, match = self.pictures
        whole, coarse = self.coarser(step)
        # OpenCV moves four channels in half of the time that two or three take.
        own, laid = (query.shape[1], query.shape[0]), self.sizes[0]
        if not laid[0] <= own[0] < _FINER * laid[0]:
            query, own = _resized(query, laid), laid
        ours = cv2.cvtColor(query, cv2.COLOR_BGR2BGRA).astype(np.uint8, copy=False)
        onto = self.between[:, :2] @ _enlarging(own, laid)[:2] + [[0, 0, 1]] * self.between[:, 2:]
        moved = _resized(_moved(ours, onto, self.sizes[1])[whole], coarse)
        theirs = _resized(_resized(match, self.sizes[1])[whole], coarse)
        return _chroma(moved), _chroma(theirs), _resized(counted[whole].view(np.uint8), coarse) > 0

    def coarser(self, step: int) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """The rows and columns of the grid that fill steps, and how many steps (width, height) these are."""
        width, height = self.sizes[1]
        coarse = max(1, width // step), max(1, height // step)
        return (slice(min(height, coarse[1] * step)), slice(min(width, coarse[0] * step))), coarse

    def are_both_grey(self, most: int) -> bool:
        """Whether Cr and Cb of all pixels are at most so many levels."""
        low, high = (0, 128 - most, 128 - most), (255, 128 + most, 128 + most)
        return all(cv2.countNonZero(cv2.inRange(each, low, high)) == each.size // 3 for each in self.pictures)


def align(query: Features, match: Features, affine: Affine, *, least: int = 0, most: int | None = None) -> Aligned:
    """Lay the query's small picture on the match's, at the coarser one's resolution, or with a longer side of the match
    of ``least`` pixels at least and of ``most`` at most.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's."""
    scale = scale_of(affine) * query.width / query.picture.shape[1] * match.picture.shape[1] / match.width
    side = max(match.picture.shape) * min(1.0, 1 / scale)
    factor = max(1.0, least / side) if most is None else min(1.0, most / side)
    laid, grid = _size(query.picture, min(1.0, scale) * factor), _size(match.picture, min(1.0, 1 / scale) * factor)
    sizes = laid, grid
    between = _between(query, match, affine, sizes)
    if factor > 1:  # enlarged from what the coarser one shows: a sharp edge is unlike the same edge at half the size
        pictures = _reduced(query.picture, min(1.0, scale)), _reduced(match.picture, min(1.0, 1 / scale))
        ours, theirs = _smooth_luma(pictures[0], laid), _smooth_luma(pictures[1], grid)
    else:
        pictures = query.picture, match.picture
        ours, theirs = _kept_luma(query, laid), _kept_luma(match, grid)
    return Aligned(_moved(ours, between, grid), theirs, _overlap(sizes, between), between, sizes, pictures, ours)


def align_fine(query: Features, match: Features, affine: Affine) -> Aligned:
    """As ``align``, of the pictures in all pixels that are kept."""
    pictures = query.fine, match.fine
    return _aligned(query, match, affine, (_luma(pictures[0]), _luma(pictures[1])), pictures)


def align_print(query: Features, match: Features, affine: Affine) -> Aligned | None:
    """As ``align``, of the print of two dense pages; None unless both have print."""
    ours, theirs = query.print, match.print
    if ours is None or theirs is None:
        return None
    return _aligned(query, match, affine, (ours, theirs), (query.picture, match.picture))


def _aligned(
    query: Features, match: Features, affine: Affine, planes: tuple[Plane, Plane], pictures: tuple[Colour, Colour]
) -> Aligned:
    """Planes of the whole pictures, laid on each other at the coarser one's resolution."""
    ours, theirs = planes
    scale = scale_of(affine) * query.width / ours.shape[1] * theirs.shape[1] / match.width
    sizes = laid, grid = _size(ours, min(1.0, scale)), _size(theirs, min(1.0, 1 / scale))
    between = _between(query, match, affine, sizes)
    ours, theirs = _smoothed(_resized(ours, laid), _SMOOTHING), _smoothed(_resized(theirs, grid), _SMOOTHING)
    return Aligned(_moved(ours, between, grid), theirs, _overlap(sizes, between), between, sizes, pictures, ours)


def scale_of(affine: Affine) -> float:
    """By how much a map [2, 3] enlarges."""
    (a, b, _), (c, d, _) = affine.tolist()
    return math.sqrt(abs(a * d - b * c))


@lru_cache(maxsize=8)
def _kept_luma(features: Features, size: tuple[int, int]) -> Plane:
    """A picture as it is compared at a size; of the last ones, for a query is compared with many pictures."""
    own = features.picture.shape[1], features.picture.shape[0]
    ratio = max(own[0] / size[0], own[1] / size[1])
    if not _HALF[0] < ratio < _HALF[1] or (own[0] % size[0], own[1] % size[1]) == (0, 0):
        return _smooth_luma(features.picture, size)
    smaller = cv2.resize(_kept_luma(features, own), size, interpolation=cv2.INTER_LINEAR)
    return _smoothed(smaller, _SMOOTHING * math.sqrt(1 - 1 / ratio**2))


def around(mask: Mask, reach: int) -> tuple[slice, slice]:
    """The rows and columns of a mask with anything in it, and so many pixels more on each side, an even number of them
    from the edge of the picture: labels of regions are given in pairs of rows."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    left, top, right, bottom = left - reach, top - reach, left + width + reach, top + height + reach
    return slice(max(0, top - top % 2), bottom), slice(max(0, left - left % 2), right)


def _moved(plane: Plane, between: Affine, grid: tuple[int, int]) -> Plane:
    return cv2.warpAffine(plane, between, grid, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)


def _overlap(sizes: tuple[tuple[int, int], tuple[int, int]], between: Affine) -> Mask:
    """The pixels of the grid that both pictures show, without those near to a place that only one of them shows."""
    covered = _covered(sizes, between)
    alike = ~covered
    within = slice(_EDGE, -_EDGE), slice(_EDGE, -_EDGE)
    alike[within] = covered[within]
    alike = cv2.erode(alike.view(np.uint8), np.ones((_EDGE, _EDGE), np.uint8), borderValue=1).view(np.bool_)
    return np.asarray((alike & covered)[within])


def _covered(sizes: tuple[tuple[int, int], tuple[int, int]], between: Affine) -> Mask:
    """The pixels of the grid, and of ``_EDGE`` more on each side, that the query shows: of each row those between the
    query's edges."""
    own, (width, height) = sizes
    (to_x, to_y, _), (from_x, from_y, _) = back = np.asarray(cv2.invertAffineTransform(between), np.float64)
    rows = np.arange(-_EDGE, height + _EDGE)
    first, last = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
    for across, start, side in zip((to_x, from_x), np.outer(rows, (to_y, from_y)).T + back[:, 2:], own, strict=True):
        step = across if abs(across) > _LEVEL else _LEVEL
        edges = (-_SHOWN - start) / step, (side - 1 + _SHOWN - start) / step
        first, last = np.maximum(first, np.minimum(*edges)), np.minimum(last, np.maximum(*edges))
    columns = np.arange(-_EDGE, width + _EDGE, dtype=np.float32)
    begin, end = (each[:, np.newaxis].astype(np.float32) for each in (first, last))
    return np.asarray((columns >= begin) & (columns <= end))


def _smooth_luma(picture: Colour, size: tuple[int, int]) -> Plane:
    return _smoothed(_resized(_luma(picture), size), _SMOOTHING)


def _luma(picture: Colour) -> Plane:
    return cv2.extractChannel(picture, 0).astype(np.uint8, copy=False)


def _smoothed(luma: cv2.typing.MatLike, sigma: float) -> Plane:
    """With five lines and columns, in half of the time of OpenCV's choice: more change a pixel by a level at most."""
    return cv2.GaussianBlur(luma, (5, 5), sigma).astype(np.uint8, copy=False)


def _chroma(picture: Colour) -> list[Plane]:
    return [cv2.extractChannel(picture, number).astype(np.uint8, copy=False) for number in (1, 2)]


def _reduced(picture: Colour, factor: float) -> Colour:
    return _resized(picture, _size(picture, factor))


def _size(picture: Colour, factor: float) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(picture)
    if picture.shape[1::-1] == size:
        return picture
    method = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=method).astype(np.uint8, copy=False)


def _between(
    query: Features, match: Features, affine: Affine, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> Affine:
    """A map of frames as one of pictures of these sizes."""
    into, back = _enlarging(sizes[0], (query.width, query.height)), _enlarging((match.width, match.height), sizes[1])
    between = back[:2, :2] @ affine @ into
    between[:, 2] += back[:2, 2]
    return np.asarray(between)


def _enlarging(size: tuple[int, int], larger: tuple[int, int]) -> NDArray[np.float64]:
    """[3, 3]: pixels of a picture -> its pixels at another size; the middle of a pixel lies at a whole number."""
    x, y = larger[0] / size[0], larger[1] / size[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def as_plane(values: NDArray[np.generic]) -> Plane:
    """The same levels: OpenCV's types leave open that they are bytes."""
    return values.astype(np.uint8, copy=False)

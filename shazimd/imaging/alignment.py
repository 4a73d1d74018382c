"""Lay one small picture on another, on the grid of the coarser one."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def to_query(self) -> Affine:
        """[2, 3]: pixels of the grid -> fractions of the query's size."""
        back = np.asarray(cv2.invertAffineTransform(self.between), np.float64)
        width, height = self.sizes[0]
        return np.diag([1 / width, 1 / height]) @ back

    def moved(self, onward: Affine) -> Aligned:
        """The same after a map [2, 3] of the grid's pixels has been applied to the query, too."""
        between = (np.vstack([onward, [0, 0, 1]]) @ np.vstack([self.between, [0, 0, 1]]))[:2]
        return _laid_on(self.pictures, self.sizes, between)

    def colours(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask]:
        """(Cr and Cb of the query, of the match, where both are known), ``step`` times coarser than the grid.

        They are made coarser once they lie on one grid: small cells of colour mix with other neighbours otherwise."""
        grid = self.sizes[1]
        coarse = max(1, grid[0] // step), max(1, grid[1] // step)
        ours, theirs = (_resized(_chroma(side), size) for side, size in zip(self.pictures, self.sizes, strict=True))
        moved = cv2.warpAffine(ours, self.between, grid, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
        a, b = (_resized(side, coarse).astype(np.float32) - 128 for side in (moved, theirs))
        return a, b, _resized(self.inside.astype(np.uint8), coarse) > 0


def align(query: Features, match: Features, affine: Affine, *, least: int = 0, most: int | None = None) -> Aligned:
    """Lay the query's small picture on the match's, at the coarser one's resolution, or with a longer side of the match
    of ``least`` pixels at least and of ``most`` at most.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's."""
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    scale *= query.width / query.picture.shape[1] * match.picture.shape[1] / match.width
    side = max(match.picture.shape) * min(1.0, 1 / scale)
    factor = max(1.0, least / side) if most is None else min(1.0, most / side)
    laid, grid = _size(query.picture, min(1.0, scale) * factor), _size(match.picture, min(1.0, 1 / scale) * factor)
    into, back = _enlarging(laid, (query.width, query.height)), _enlarging((match.width, match.height), grid)
    between = back @ np.vstack([affine, [0, 0, 1]]) @ into
    pictures = query.picture, match.picture
    if factor > 1:  # enlarged from what the coarser one shows: a sharp edge is unlike the same edge at half the size
        pictures = _reduced(query.picture, min(1.0, scale)), _reduced(match.picture, min(1.0, 1 / scale))
    return _laid_on(pictures, (laid, grid), between[:2])


def _laid_on(
    pictures: tuple[Colour, Colour], sizes: tuple[tuple[int, int], tuple[int, int]], between: Affine
) -> Aligned:
    laid, ground = (_smooth_luma(picture, size) for picture, size in zip(pictures, sizes, strict=True))
    inside = _overlap(sizes, between)
    moved = cv2.warpAffine(laid, between, sizes[1], borderMode=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    return Aligned(moved, ground, inside, between, sizes, pictures)


def _overlap(sizes: tuple[tuple[int, int], tuple[int, int]], between: Affine) -> Mask:
    """The pixels of the grid that both pictures show, without those near to a place that only one of them shows."""
    (width, height), grid = sizes
    around = between + np.array([[0, 0, _EDGE], [0, 0, _EDGE]])
    wide = grid[0] + 2 * _EDGE, grid[1] + 2 * _EDGE
    covered = cv2.warpAffine(np.full((height, width), 255, np.uint8), around, wide) > 250
    shown = np.zeros_like(covered)
    within = shown[_EDGE:-_EDGE, _EDGE:-_EDGE]
    within[:] = True
    alike = cv2.erode((covered == shown).astype(np.uint8), np.ones((_EDGE, _EDGE), np.uint8), borderValue=1) > 0
    return np.asarray((alike & covered)[_EDGE:-_EDGE, _EDGE:-_EDGE])


def _smooth_luma(picture: Colour, size: tuple[int, int]) -> Plane:
    luma = _resized(cv2.extractChannel(np.ascontiguousarray(picture), 0).astype(np.uint8, copy=False), size)
    return cv2.GaussianBlur(luma, (0, 0), _SMOOTHING).astype(np.uint8, copy=False)


def _chroma(picture: Colour) -> NDArray[np.uint8]:
    whole = np.ascontiguousarray(picture)
    return cv2.merge([cv2.extractChannel(whole, number) for number in (1, 2)]).astype(np.uint8, copy=False)


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


def _enlarging(size: tuple[int, int], larger: tuple[int, int]) -> NDArray[np.float64]:
    """[3, 3]: pixels of a picture -> its pixels at another size; the middle of a pixel lies at a whole number."""
    x, y = larger[0] / size[0], larger[1] / size[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])

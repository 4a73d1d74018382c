"""Key points of a picture and their descriptors: SIFT (Lowe, IJCV 2004), of which only what is kept is computed.

OpenCV's SIFT doubles the frame, blurs it, finds some 400 points, looks for the directions of all, and blurs anew for
the descriptors. Here the frame is enlarged by half and blurred once, from the same blur on; the points to keep are
chosen before their directions are looked for; and all are turned and described at a time, on a grid of samples each.
It takes two thirds of the time, and as many copies are told (benchmarks/quality/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

_ENLARGED = 1.5
_LAYERS = 3
"""Sizes of points in an octave."""
_BLUR = 0.8 * _ENLARGED
"""Pixels of the enlarged frame, the finest blur that points are found at: 1.6 in a doubled one, as Lowe has it."""
_BLUR_BEFORE = 0.5 * _ENLARGED
"""That a picture is taken to have, as Lowe has it."""
_CONTRAST_MIN = 0.02 / _LAYERS
"""Of the range of grey levels; half of OpenCV's default, so that faded and blurred copies still have features."""
_EDGE_RATIO_MAX = 12
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_BORDER = 5
"""Pixels of an octave along its edge without points."""
_OFFSET_MAX, _OFFSET_TAKEN = 1.5, 0.5
"""Steps to the peak of the parabola through the neighbours: beyond the first there is none here, and more than the
second is not gone."""
_CELLS = 4
"""Points are kept from a grid of 4 x 4 cells in turn, so that one busy corner does not take them all."""
_DIRECTIONS = 36
_OTHER_DIRECTION_MIN = 0.8
"""Of the strongest direction's weight, for a second point in the place with this direction."""
_WITHIN = 3.0
"""Deviations of the weights around a point, 1.5 times its blur, within which its directions are looked for."""
_SIDE = 17
"""Samples of a row, for directions."""
_BINS, _BIN, _BIN_SAMPLES = 4, 3.0, 16
"""A descriptor's rows and columns; the side of a bin, in times the blur; samples of a row, over half a bin more on each
side, whose weights fall to nothing there."""
_BIN_DIRECTIONS = 8
_VALUE_MAX = 0.2
"""Of a descriptor of unit length, against the one strong edge."""

Floats = NDArray[np.float32]


class KeyPoints(NamedTuple):
    """Best first."""

    points: Floats
    """[n, 2]: x, y in pixels"""
    sizes: Floats
    """[n]: diameter, pixels"""
    angles: Floats
    """[n]: radians, [0, 2 pi], clockwise"""
    descriptors: Floats
    """[n, 128], RootSIFT: the square roots of shares that add up to 1; 4 rows of 4 bins of 8 directions"""


def key_points(frame: NDArray[np.uint8], limit: int) -> KeyPoints:
    """The ``limit`` best points of a grey picture [h, w]; fewer or none where it has no structure."""
    blurred = _Blurred.of(frame)
    found = _extrema(blurred)
    if found is None or not len(found.x):
        return KeyPoints(*(np.empty((0, *shape), np.float32) for shape in ((2,), (), (), (128,))))
    found = found.at(_order(found, frame.shape)[:limit])
    slopes = _Slopes.of(blurred.octaves)
    of, angles = _directions(slopes, found)
    found = found.at(of)
    kept = _order(found, frame.shape)[:limit]
    found, angles = found.at(kept), angles[kept]
    return KeyPoints(found.places(), found.sizes(), angles, _descriptors(slopes, found, angles))


class _Found(NamedTuple):
    """Points, by the octave and the layer in which they were found."""

    x: Floats
    """[n] each: pixels of the octave"""
    y: Floats
    blur: Floats
    contrast: Floats
    """of the range of grey levels"""
    octave: NDArray[np.intp]
    layer: NDArray[np.intp]

    def at(self, which: NDArray[np.intp]) -> _Found:
        values = self.x[which], self.y[which], self.blur[which], self.contrast[which]
        return _Found(*values, self.octave[which], self.layer[which])

    def places(self) -> Floats:
        """[n, 2], pixels of the frame. The first pixel of an octave is that of the one before."""
        enlarged = np.stack([self.x, self.y], axis=1) * self._pixels()[:, np.newaxis]
        return (enlarged + np.float32(0.5)) / np.float32(_ENLARGED) - np.float32(0.5)

    def sizes(self) -> Floats:
        return 2 * self.blur * self._pixels() / np.float32(_ENLARGED)

    def _pixels(self) -> Floats:
        pixels: Floats = np.exp2(self.octave.astype(np.float32))
        return pixels


class _Blurred(NamedTuple):
    """The enlarged frame at growing blurs, from the second octave on at half the size of the one before."""

    flat: Floats
    """all pixels"""
    octaves: list[Floats]
    """[layers + 3, h, w] each, in ``flat``; none for a frame too small for a point"""

    @classmethod
    def of(cls, frame: NDArray[np.uint8]) -> Self:
        shapes = [(round(frame.shape[0] * _ENLARGED), round(frame.shape[1] * _ENLARGED))]
        while min(shapes[-1]) > 2 * _BORDER:
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        areas = [(_LAYERS + 3) * height * width for height, width in shapes[:-1]]
        flat, starts = np.empty(sum(areas), np.float32), np.cumsum([0, *areas])
        octaves = [
            flat[start : start + area].reshape(-1, *shape)
            for start, area, shape in zip(starts, areas, shapes, strict=False)
        ]
        step = 2 ** (1 / _LAYERS)
        for number, octave in enumerate(octaves):
            if number == 0:
                enlarged = cv2.resize(frame, shapes[0][::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
                cv2.GaussianBlur(enlarged, (0, 0), (_BLUR**2 - _BLUR_BEFORE**2) ** 0.5, dst=octave[0])
            else:
                octave[0] = octaves[number - 1][_LAYERS, ::2, ::2]
            for layer in range(_LAYERS + 2):
                more = _BLUR * step**layer * (step**2 - 1) ** 0.5
                cv2.GaussianBlur(octave[layer], (0, 0), more, dst=octave[layer + 1])
        return cls(flat, octaves)


class _Neighbours(NamedTuple):
    """Points as they are found, and places of their neighbours."""

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    here: NDArray[np.intp]
    """in ``_Blurred.flat``"""
    octave: NDArray[np.intp]
    layer: NDArray[np.intp]
    width: NDArray[np.intp]
    """how far the next row is"""
    area: NDArray[np.intp]
    """how far the next layer is"""

    def differences(self, flat: Floats, x: int, y: int, layer: int) -> Floats:
        """The difference of blurs so far from each point."""
        at = self.here + (layer * self.area + y * self.width + x)
        found: Floats = flat.take(at + self.area) - flat.take(at)
        return found


def _extrema(blurred: _Blurred) -> _Found | None:
    """The points whose difference of blurs is greater than those of the 26 neighbours, or less; None without any."""
    found, start = [], 0
    for number, octave in enumerate(blurred.octaves):
        _, height, width = octave.shape
        # Of opposite signs only one can be the greatest of its neighbours: sizes do for both, in half the time.
        sizes = [cv2.absdiff(more, less) for more, less in zip(octave[1:], octave, strict=False)]
        for layer in range(1, _LAYERS + 1):
            near = cv2.max(cv2.max(sizes[layer - 1], sizes[layer]), sizes[layer + 1])
            greatest = np.maximum(cv2.dilate(near, _NEIGHBOURS), np.float32(255 * _CONTRAST_MIN / 2))
            mask = cv2.compare(sizes[layer], greatest, cv2.CMP_GE)
            places = cv2.findNonZero(mask[_BORDER : height - _BORDER, _BORDER : width - _BORDER])
            if places is not None:
                x, y = places.reshape(-1, 2).T.astype(np.intp) + _BORDER
                here = start + layer * mask.size + y * width + x
                numbers = (np.full(len(x), each) for each in (number, layer, width, mask.size))
                found.append((x, y, here, *numbers))
        start += octave.size
    return _refined(blurred.flat, _Neighbours(*map(np.concatenate, zip(*found, strict=True)))) if found else None


def _refined(flat: Floats, near: _Neighbours) -> _Found:
    """The peaks of the parabolas through points and their neighbours, without weak ones and those along edges (Lowe,
    section 4)."""

    def at(x: int, y: int, layer: int) -> Floats:
        return near.differences(flat, x, y, layer)

    def mixed(one: tuple[int, int, int], other: tuple[int, int, int]) -> Floats:
        sides = [at(*(s * a + t * b for a, b in zip(one, other, strict=True))) for s in (1, -1) for t in (1, -1)]
        return (sides[0] - sides[1] - sides[2] + sides[3]) * np.float32(0.25)

    middle = at(0, 0, 0)
    axes = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    sides = [(at(*axis), at(*(-step for step in axis))) for axis in axes]
    gx, gy, gs = ((after - before) / 2 for after, before in sides)
    xx, yy, ss = (after + before - 2 * middle for after, before in sides)
    xy, xs, ys = mixed(axes[0], axes[1]), mixed(axes[0], axes[2]), mixed(axes[1], axes[2])
    # The inverse of the symmetric matrix of second derivatives, by its cofactors.
    c_xx, c_xy, c_xs = yy * ss - ys * ys, xs * ys - xy * ss, xy * ys - xs * yy
    c_yy, c_ys, c_ss = xx * ss - xs * xs, xy * xs - xx * ys, xx * yy - xy * xy
    whole = xx * c_xx + xy * c_xy + xs * c_xs
    whole[np.abs(whole) < 1e-9] = 1e-9
    steps = [c_xx * gx + c_xy * gy + c_xs * gs, c_xy * gx + c_yy * gy + c_ys * gs, c_xs * gx + c_ys * gy + c_ss * gs]
    offsets = -np.stack(steps) / whole
    is_near = (np.abs(offsets) < _OFFSET_MAX).all(axis=0)
    by_x, by_y, by_layer = np.clip(offsets, -_OFFSET_TAKEN, _OFFSET_TAKEN)
    contrast: Floats = np.abs(middle + (gx * by_x + gy * by_y + gs * by_layer) / 2) / 255
    is_corner = (c_ss > 0) & ((xx + yy) ** 2 * _EDGE_RATIO_MAX < (_EDGE_RATIO_MAX + 1) ** 2 * c_ss)
    blur = _BLUR * np.exp2((near.layer + by_layer) / _LAYERS)
    placed = (near.x + by_x).astype(np.float32), (near.y + by_y).astype(np.float32)
    found = _Found(*placed, blur.astype(np.float32), contrast, near.octave, near.layer)
    return found.at(np.flatnonzero(is_near & is_corner & (contrast >= _CONTRAST_MIN)))


def _order(found: _Found, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """The order in which points are kept: by contrast and size, from each cell of the picture in turn.

    Size counts because fine features are the first that shrinking and blurring take away."""
    strength = found.contrast * np.sqrt(found.sizes())
    cells = np.clip(found.places() * _CELLS / shape[::-1], 0, _CELLS - 1).astype(int) @ (_CELLS, 1)
    order = np.lexsort((-strength, cells))
    turn = np.empty(len(order), int)
    turn[order] = np.arange(len(order)) - np.searchsorted(cells[order], cells[order])
    return np.lexsort((-strength, turn))


class _Slopes(NamedTuple):
    """The gradients of all layers that points are found in, one below the other."""

    along_x: Floats
    along_y: Floats
    tops: Floats
    """[octaves, layers]: the row at which a layer begins"""
    sides: Floats
    """[octaves, 2]: width and height"""

    @classmethod
    def of(cls, octaves: Sequence[Floats]) -> Self:
        sides = np.array([octave.shape[:0:-1] for octave in octaves])
        tops = np.cumsum(np.append(0, np.repeat(sides[:, 1], _LAYERS)))
        along_x, along_y = np.zeros((2, tops[-1], sides[0, 0]), np.float32)
        for top, layer in zip(tops, (layer for octave in octaves for layer in octave[1 : _LAYERS + 1]), strict=False):
            height, width = layer.shape
            cv2.subtract(layer[:, 2:], layer[:, :-2], dst=along_x[top : top + height, 1 : width - 1])
            cv2.subtract(layer[2:], layer[:-2], dst=along_y[top + 1 : top + height - 1, :width])
        in_octaves = tops[:-1].reshape(-1, _LAYERS).astype(np.float32)
        return cls(along_x, along_y, in_octaves, sides.astype(np.float32))

    def sampled(self, found: _Found, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Length [n, m] and direction [n, m] of the gradients at m places around each of n points, in pixels of its
        octave; beyond the edge, of those at the edge."""
        width, height = self.sides[found.octave].T[:, :, np.newaxis]
        top = self.tops[found.octave, found.layer - 1][:, np.newaxis]
        at = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1) + top
        along_x, along_y = (cv2.remap(along, *at, cv2.INTER_LINEAR) for along in (self.along_x, self.along_y))
        length, direction = cv2.cartToPolar(along_x, along_y)
        return length.astype(np.float32, copy=False), direction.astype(np.float32, copy=False)


def _directions(slopes: _Slopes, found: _Found) -> tuple[NDArray[np.intp], Floats]:
    """The points' numbers, one or several times each, and the directions that most gradients around them have."""
    reach = 1.5 * found.blur[:, np.newaxis]
    x, y = found.x[:, np.newaxis] + reach * _DISC_X, found.y[:, np.newaxis] + reach * _DISC_Y
    length, direction = slopes.sampled(found, x, y)
    bins = np.rint(direction * (_DIRECTIONS / (2 * np.pi))).astype(np.intp) % _DIRECTIONS
    bins += _DIRECTIONS * np.arange(len(bins))[:, np.newaxis]
    counts = np.bincount(bins.ravel(), (length * _DISC_WEIGHTS).ravel(), _DIRECTIONS * len(bins))
    weights = counts.reshape(-1, _DIRECTIONS)
    weights = np.sum([share * np.roll(weights, by, axis=1) for by, share in _SMOOTHED.items()], axis=0)
    before, after = np.roll(weights, 1, axis=1), np.roll(weights, -1, axis=1)
    strongest = weights.max(axis=1, keepdims=True)
    of, bin_ = np.nonzero((weights > before) & (weights > after) & (weights >= _OTHER_DIRECTION_MIN * strongest))
    left, peak, right = before[of, bin_], weights[of, bin_], after[of, bin_]
    angles = (bin_ + (left - right) / (left - 2 * peak + right) / 2) * (2 * np.pi / _DIRECTIONS)
    return of, (angles % (2 * np.pi)).astype(np.float32)


_SMOOTHED = {-2: 1 / 16, -1: 4 / 16, 0: 6 / 16, 1: 4 / 16, 2: 1 / 16}
"""Weights of neighbouring directions, as OpenCV smooths them."""


def _descriptors(slopes: _Slopes, found: _Found, angles: Floats) -> Floats:
    """[n, 128]: see ``KeyPoints``."""
    reach = _BIN * found.blur[:, np.newaxis]
    along, across = reach * np.cos(angles)[:, np.newaxis], reach * np.sin(angles)[:, np.newaxis]
    x = found.x[:, np.newaxis] + along * _GRID_X - across * _GRID_Y
    y = found.y[:, np.newaxis] + across * _GRID_X + along * _GRID_Y
    length, direction = slopes.sampled(found, x, y)
    # Anticlockwise, as OpenCV counts in descriptors, of which the vocabulary is made.
    direction = (angles[:, np.newaxis] - direction) * np.float32(_BIN_DIRECTIONS / (2 * np.pi))
    lower = np.floor(direction)
    upper_share = length * (direction - lower)
    first = np.arange(length.size).reshape(length.shape) * _BIN_DIRECTIONS
    lower_bin = lower.astype(np.intp) & (_BIN_DIRECTIONS - 1)
    by_direction = np.zeros(length.size * _BIN_DIRECTIONS, np.float32)
    by_direction[first + lower_bin] = length - upper_share
    by_direction[first + (lower_bin + 1 & _BIN_DIRECTIONS - 1)] = upper_share
    bins = np.matmul(_GRID_WEIGHTS, by_direction.reshape(*length.shape, _BIN_DIRECTIONS)).reshape(len(length), -1)
    bins = np.minimum(bins, _VALUE_MAX * np.linalg.norm(bins, axis=1, keepdims=True))
    shares = bins / np.maximum(bins.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    descriptors: Floats = np.sqrt(shares)
    return descriptors


def _disc() -> tuple[Floats, Floats, Floats]:
    """x and y of the samples for directions, in deviations of their weights; and these."""
    side = np.linspace(-_WITHIN, _WITHIN, _SIDE)
    x, y = (each.ravel() for each in np.meshgrid(side, side))
    within = x**2 + y**2 <= _WITHIN**2
    x, y = x[within], y[within]
    return x.astype(np.float32), y.astype(np.float32), np.exp(-(x**2 + y**2) / 2).astype(np.float32)


def _grid() -> tuple[Floats, Floats, Floats]:
    """x and y of the samples for a descriptor, in bins from the middle; and [16, m]: the weight of each for each bin,
    by its distance from the bin's middle, and from the middle of all."""
    side = ((np.arange(_BIN_SAMPLES) + 0.5) / _BIN_SAMPLES - 0.5) * (_BINS + 1)
    x, y = (each.ravel() for each in np.meshgrid(side, side))
    middles = np.arange(_BINS) - (_BINS - 1) / 2
    rows, columns = (np.maximum(0, 1 - np.abs(each - middles[:, np.newaxis])) for each in (y, x))
    weights = (rows[:, np.newaxis] * columns).reshape(_BINS**2, -1) * np.exp(-(x**2 + y**2) / (_BINS**2 / 2))
    return x.astype(np.float32), y.astype(np.float32), weights.astype(np.float32)


_DISC_X, _DISC_Y, _DISC_WEIGHTS = _disc()
_GRID_X, _GRID_Y, _GRID_WEIGHTS = _grid()

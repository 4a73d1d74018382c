"""Average and difference hash of a picture, bit for bit those of the package imagehash, as whole numbers of 64 bits.

imagehash has Pillow reduce the picture for each hash; one product of matrices for all takes a quarter of the time
(``benchmarks.photo_steps``). The algorithms are N. Krawetz's (hackerfactor.com, "Looks Like It" 2011, "Kind of Like
That" 2013). The first bit, top left, is the most significant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Transpose

from shazimd.text import HASHES

T = TypeVar("T", bound=np.generic)

_SIDE = 8
_TALL_MAX = 1.8
"""Height over width. A picture that is higher than twice its width, less 10 pixels, Pillow 13 may reduce the other way
round, first to its 8 rows."""
_PILLOW_BELOW, _PILLOW_ABOVE = 64, 8192
"""Pixels a side: of less the rule above would count, weights of more would take too much memory."""
_UNIT_BITS = 22
"""Pillow's weights for pictures of bytes are whole numbers, with so many bits for 1."""
_LOBES = 3
"""of Lanczos' filter, at each side"""
_STRIP_PIXELS = 1 << 16
"""Half a mebibyte of numbers, which stay in the processor's cache."""

ORIENTATIONS = (
    None,
    Transpose.FLIP_LEFT_RIGHT,
    Transpose.FLIP_TOP_BOTTOM,
    Transpose.ROTATE_180,
    Transpose.TRANSPOSE,
    Transpose.ROTATE_270,
    Transpose.ROTATE_90,
    Transpose.TRANSVERSE,
)
"""Upright first; the last four swap width and height."""


def oriented_hashes(luma: Image.Image) -> list[tuple[int, ...]]:
    """The hashes of a picture in mode L, in the order of ``HASHES``, in each of ``ORIENTATIONS``.

    The upright ones are exact. In the others, rounding may change a bit: they are made from turned thumbnails. To turn
    the picture itself took 8.7 ms at 534 x 400 pixels, instead of 1.3 ms, and 1.1 s at 24 megapixels, instead of 0.11.
    """
    thumbnails = Thumbnails.of(luma)
    return list(zip(*(COMPUTED[each.name](thumbnails) for each in HASHES), strict=True))


class Thumbnails(NamedTuple):
    """A picture made small: uint8 [height, width], by the filter of imagehash."""

    square: NDArray[np.uint8]
    """8 x 8"""
    wide: NDArray[np.uint8]
    """9 wide, 8 high"""
    tall: NDArray[np.uint8]
    """8 wide, 9 high"""

    @classmethod
    def of(cls, luma: Image.Image) -> Thumbnails:
        if (
            min(luma.size) >= _PILLOW_BELOW
            and max(luma.size) <= _PILLOW_ABOVE
            and luma.height <= _TALL_MAX * luma.width
        ):
            return cls.of_pixels(np.asarray(luma))
        lanczos = Image.Resampling.LANCZOS
        narrow = luma.resize((_SIDE, luma.height), lanczos)
        tall = narrow.resize((_SIDE, _SIDE + 1), lanczos)
        # Of a picture that is not tall Pillow makes the rows narrow first, to bytes, so that this is the same.
        square = (narrow if luma.width >= luma.height else luma).resize((_SIDE, _SIDE), lanczos)
        wide = luma.resize((_SIDE + 1, _SIDE), lanczos)
        return cls(np.asarray(square), np.asarray(wide), np.asarray(tall))

    @classmethod
    def of_pixels(cls, luma: NDArray[np.uint8]) -> Thumbnails:
        """All three by two products, in .25 ms where Pillow takes 1.1 for 500 x 375 pixels: the same, since products of
        whole numbers below 2^53 are exact in any order."""
        height, width = luma.shape
        weights, rows = _weights(width), max(1, _STRIP_PIXELS // width)
        strips = [luma[top : top + rows].astype(np.float64) @ weights for top in range(0, height, rows)]
        both = _levels(_weights(height).T @ _levels(np.concatenate(strips)))
        return cls(
            *(each.astype(np.uint8) for each in (both[:_SIDE, :_SIDE], both[:_SIDE, _SIDE:], both[_SIDE:, :_SIDE]))
        )


@lru_cache(maxsize=16)  # the pictures of a camera have one size
def _weights(length: int) -> NDArray[np.float64]:
    """[length, 8 + 9]: the weights with which Pillow (Resample.c) reduces so many pixels to 8, and to 9: whole
    numbers."""
    return np.concatenate([_lanczos(length, side) for side in (_SIDE, _SIDE + 1)], axis=1)


def _lanczos(length: int, side: int) -> NDArray[np.float64]:
    scale = length / side
    centers = (np.arange(side) + 0.5) * scale
    reach = _LOBES * scale
    first = np.maximum((centers - reach + 0.5).astype(int), 0)
    end = np.minimum((centers + reach + 0.5).astype(int), length)
    places = np.arange(length)[:, np.newaxis]
    at = (places - centers + 0.5) * (1.0 / scale)
    is_near = (places >= first) & (places < end) & (at >= -_LOBES) & (at < _LOBES)
    shares = np.where(is_near, np.sinc(at) * np.sinc(at / _LOBES), 0.0)
    scaled = shares * (1.0 / np.cumsum(shares, axis=0)[-1]) * (1 << _UNIT_BITS)  # summed up one by one, as Pillow does
    weights: NDArray[np.float64] = np.trunc(scaled + np.copysign(0.5, scaled))
    return weights


def _levels(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sums as levels from 0 to 255, rounded as Pillow does."""
    levels: NDArray[np.float64] = np.floor((sums + (1 << _UNIT_BITS - 1)) / (1 << _UNIT_BITS))
    return levels.clip(0, 255)


def average_hashes(given: Thumbnails) -> list[int]:
    """A bit for each of 8 x 8 cells, set if brighter than their mean; in each of ``ORIENTATIONS``."""
    bright = given.square > given.square.mean()
    return [_packed(_turned(bright, number)) for number in range(len(ORIENTATIONS))]


def difference_hashes(given: Thumbnails) -> list[int]:
    """A bit for each of 8 x 8 cells, set if brighter than the left neighbour; in each of ``ORIENTATIONS``."""
    views = (_turned(given.wide if number < 4 else given.tall, number) for number in range(len(ORIENTATIONS)))
    return [_packed(view[:, 1:] > view[:, :-1]) for view in views]


COMPUTED: dict[str, Callable[[Thumbnails], list[int]]] = {"ah": average_hashes, "dh": difference_hashes}
"""For each of ``HASHES``."""


def _turned(pixels: NDArray[T], orientation: int) -> NDArray[T]:
    """An array as ``Image.transpose`` turns pictures, by the number of the orientation."""
    return (
        pixels,
        pixels[:, ::-1],
        pixels[::-1],
        pixels[::-1, ::-1],
        pixels.T,
        pixels.T[:, ::-1],
        pixels.T[::-1],
        pixels.T[::-1, ::-1],
    )[orientation]


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

"""Average and difference hash, 64 bits each, equal to those of ``imagehash`` 4.3 for the same decoded pixels.

The algorithms are N. Krawetz's (hackerfactor.com, "Looks Like It" 2011, "Kind of Like That" 2013). The first bit, top
left, is the most significant.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 8


def average_hash(image: Image.Image) -> int:
    """Which of 8 x 8 cells are brighter than their mean."""
    return _average(_thumbnail(image.convert("L"), _SIDE, _SIDE))


def difference_hash(image: Image.Image) -> int:
    """Which of 8 x 8 cells are brighter than their left neighbour."""
    return _difference(_thumbnail(image.convert("L"), _SIDE + 1, _SIDE))


def oriented_hashes(luma: Image.Image) -> list[tuple[int, int]]:
    """(average hash, difference hash) of a picture in mode L in its 8 orientations, in the order of ``orientations``.

    The upright pair is exact. The others are those of the turned thumbnails, a fraction of the cost of turning the
    picture; rounding in the resize may set a bit differently.
    """
    square = _thumbnail(luma, _SIDE, _SIDE)
    wide, tall = _thumbnail(luma, _SIDE + 1, _SIDE), _thumbnail(luma, _SIDE, _SIDE + 1)
    differences = [
        a if a.shape == wide.shape else b for a, b in zip(orientations(wide), orientations(tall), strict=True)
    ]
    return [(_average(a), _difference(d)) for a, d in zip(orientations(square), differences, strict=True)]


def orientations(array: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The 8 views of a picture [h, w, ...] turned and mirrored, upright first; the last four swap height and width."""
    for view in (array, array.swapaxes(0, 1)):
        yield view
        yield view[:, ::-1]
        yield view[::-1]
        yield view[::-1, ::-1]


def _thumbnail(luma: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(luma.resize((width, height), Image.Resampling.LANCZOS))


def _average(square: NDArray[np.uint8]) -> int:
    return _pack(square > square.mean())


def _difference(wide: NDArray[np.uint8]) -> int:
    return _pack(wide[:, 1:] > wide[:, :-1])


def _pack(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

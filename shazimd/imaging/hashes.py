"""Average and difference hash of a picture, computed by ``imagehash``, as whole numbers of 64 bits.

The algorithms are N. Krawetz's (hackerfactor.com, "Looks Like It" 2011, "Kind of Like That" 2013). The first bit, top
left, is the most significant.
"""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image
from PIL.Image import Transpose

_SIDE = 8

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


def average_hash(image: Image.Image) -> int:
    """A bit for each of 8 x 8 cells, set if brighter than their mean."""
    return _number(imagehash.average_hash(image))


def difference_hash(image: Image.Image) -> int:
    """A bit for each of 8 x 8 cells, set if brighter than the left neighbour."""
    return _number(imagehash.dhash(image))


def oriented_hashes(luma: Image.Image) -> list[tuple[int, int]]:
    """(average hash, difference hash) of a picture in mode L in each of ``ORIENTATIONS``.

    The upright pair is exact. In the others, rounding may change a bit: they are made from turned thumbnails. To turn
    the picture itself took 8.7 ms at 534 x 400 pixels, instead of 1.8 ms, and 1.1 s at 24 megapixels, instead of 0.16.
    """
    square, wide, tall = (
        luma.resize(size, Image.Resampling.LANCZOS) for size in ((_SIDE, _SIDE), (_SIDE + 1, _SIDE), (_SIDE, _SIDE + 1))
    )
    # imagehash resizes too, but Pillow only copies a picture that has the size already.
    return [
        (average_hash(_turned(square, turn)), difference_hash(_turned(wide if number < 4 else tall, turn)))
        for number, turn in enumerate(ORIENTATIONS)
    ]


def _turned(image: Image.Image, turn: Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _number(found: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(found.hash).tobytes(), "big")

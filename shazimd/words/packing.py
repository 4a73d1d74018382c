"""The bytes of packed local features, and the words in them, which the daemon reads without a decoder.

Packed, little-endian: version u8, flags u8 (``DRAWN``), width u16, height u16 (of the frame the keypoints lie in),
count u16, then the features as ``FEATURE`` records, strongest first, then the small picture as a colour JPEG, WebP or
PNG.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

VERSION = 3
"""The first byte. Raise it with every change to the bytes or to how features are found: the backfill then makes the
features of all known pictures anew."""
HEADER = struct.Struct("<BBHHH")
DRAWN = 1
"""Flag: the picture is a page, chart or drawing, kept in more pixels than a photograph."""
FEATURE = np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1"), ("word", "<u2"), ("bits", "u1", 16)])
"""x, y in 1/64 pixel of the frame; diameter in 1/32 octaves; angle in 1/256 of a turn, clockwise as the y axis
points down; bit i of ``bits`` (first is the most significant) is bin i of the descriptor."""


def unpack_words(data: bytes) -> NDArray[np.uint16]:
    """The words of packed features, strongest feature first; none for no bytes.

    Raises ValueError for bytes not made by ``extract_features``."""
    if not data:
        return np.empty(0, np.uint16)
    if len(data) < HEADER.size or data[0] != VERSION:
        raise ValueError(f"packed features begin with {data[:1]!r}, expected version {VERSION}")
    count = HEADER.unpack_from(data)[4]
    return np.frombuffer(data, FEATURE, count, HEADER.size)["word"]

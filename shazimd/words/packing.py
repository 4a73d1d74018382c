"""How local features lie in bytes, and what can be read of them without a decoder, as the daemon does.

Packed, little-endian: version u8, flags u8 (``DRAWN``), width u16, height u16 (of the frame the keypoints lie in),
count u16, then the features as ``FEATURE`` records, strongest first, then the small picture as a colour JPEG, WebP or
PNG.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

VERSION = 3
HEADER = struct.Struct("<BBHHH")
DRAWN = 1
"""Flag: the picture is a page, chart or drawing, kept in more pixels than a photograph."""
FEATURE = np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1"), ("word", "<u2"), ("bits", "u1", 16)])
"""x, y in 1/64 pixel of the frame; diameter in 1/32 octaves; angle in 1/256 of a turn, clockwise as the y axis
points down; bit i of ``bits`` (first is the most significant) is bin i of the descriptor."""


def unpack_words(data: bytes) -> NDArray[np.uint16]:
    """The words of packed features, strongest feature first, with nothing else unpacked; none for no bytes.

    Raises ValueError for bytes that ``extract_features`` did not make."""
    if not data:
        return np.empty(0, np.uint16)
    if len(data) < HEADER.size or data[0] != VERSION:
        raise ValueError(f"packed features begin with {data[:1]!r}, expected version {VERSION}")
    count = HEADER.unpack_from(data)[4]
    return np.frombuffer(data, FEATURE, count, HEADER.size)["word"]

"""Still WebP, by OpenCV: the pixels are those of Pillow's decoder of animations, which takes 16 bytes of memory a pixel
in place of 7, half of them when a file is opened.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size, named

_HEAD_BYTES = 30
_SIDE_MASK = 0x3FFF
"""14 bits, the size of a side in both codes."""


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The picture of a WebP; None for other data, for an animation, and for what OpenCV can't decode."""
    size = _size(data)
    if size is None:
        return None
    check_size(size, max_pixels, "WEBP")  # before Pillow opens it: it takes memory for two pictures
    header = Image.open(io.BytesIO(data), formats=["WEBP"])
    if getattr(header, "is_animated", False):
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return None
    has_alpha = pixels.shape[2] == 4
    cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if has_alpha else cv2.COLOR_BGR2RGB, dst=pixels)
    image = named(Image.fromarray(pixels), "WEBP")
    image.info = header.info
    return Reading(image, is_whole=True)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the first chunk (RFC 9649)."""
    if len(data) < _HEAD_BYTES or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & _SIDE_MASK), 1 + (bits >> 14 & _SIDE_MASK)
    if kind == b"VP8 ":
        sides = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return sides[0] & _SIDE_MASK, sides[1] & _SIDE_MASK
    return None

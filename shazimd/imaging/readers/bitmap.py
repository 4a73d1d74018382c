"""Windows bitmaps with any bit fields (5-6-5, 4-4-4-4, 10 bits a colour), and run-length ones that end early.

The header is that of Microsoft's "Bitmap Storage"; masks of 0 mean 5-5-5 in 16 bits and 8-8-8 in 32.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size, named

_RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHA_BITFIELDS = 1, 2, 3, 4, 5, 6
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_565 = (0xF800, 0x7E0, 0x1F, 0)


def read(data: bytes, max_pixels: int) -> Reading | None:
    """A bitmap with bit fields or run lengths, or with a JPEG or PNG inside."""
    if not data.startswith(b"BM") or len(data) < 54:
        return None
    offset, header = struct.unpack_from("<I", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    if header < 40:
        return None
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    check_size((width, abs(height)), max_pixels)
    if compression in (_RLE8, _RLE4):
        (count,) = struct.unpack_from("<I", data, 46)
        palette = np.frombuffer(data, np.uint8, 4 * (count or 1 << bits), 14 + header).reshape(-1, 4)
        indices, is_whole = _runs(data, offset, (width, abs(height)), is_rle4=compression == _RLE4)
        pixels = palette[np.minimum(indices, len(palette) - 1), 2::-1]
        image = Image.fromarray(np.ascontiguousarray(pixels[::-1]))
        return Reading(named(image, "BMP"), is_damaged=not is_whole)
    if compression in (_JPEG, _PNG):
        return Reading(named(Image.open(io.BytesIO(data[offset:]), formats=["JPEG", "PNG"]).copy(), "BMP"))
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS) or bits not in (16, 32):
        return None
    words, is_whole = _words(data, offset, (width, abs(height)), bits)
    image = _of_fields(words[:: 1 if height < 0 else -1], _masks(data, header, offset, bits, compression))
    return Reading(named(image, "BMP"), is_damaged=not is_whole)


def _masks(data: bytes, header: int, offset: int, bits: int, compression: int) -> tuple[int, int, int, int]:
    """The masks of red, green, blue and alpha; a short header without them has the usual ones."""
    has_alpha = header >= 56 or compression == _ALPHA_BITFIELDS
    if header == 40 and offset < 66:
        return _565 if bits == 16 else _DEFAULT_MASKS[bits]
    red, green, blue, alpha = struct.unpack_from("<IIII", data, 54)
    return (red, green, blue, alpha if has_alpha else 0) if red | green | blue else _DEFAULT_MASKS[bits]


def _words(data: bytes, offset: int, size: tuple[int, int], bits: int) -> tuple[NDArray[np.uint32], bool]:
    """The pixels [h, w] as they stand in the file, rows padded to 4 bytes; and whether all are there."""
    width, height = size
    stride = (width * bits // 8 + 3) // 4 * 4
    raw = data[offset : offset + stride * height]
    rows = np.frombuffer(raw.ljust(stride * height, b"\0"), "<u2" if bits == 16 else "<u4").reshape(height, -1)
    return rows[:, :width].astype(np.uint32), len(raw) == stride * height


def _of_fields(words: NDArray[np.uint32], masks: tuple[int, int, int, int]) -> Image.Image:
    channels = []
    for mask in masks[: 4 if masks[3] else 3]:
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        highest = max(mask >> shift, 1)
        channels.append(((words & mask) >> shift) * (255.0 / highest) + 0.5)
    return Image.fromarray(np.dstack(channels).astype(np.uint8))


def _runs(data: bytes, at: int, size: tuple[int, int], *, is_rle4: bool) -> tuple[NDArray[np.uint8], bool]:
    """The indices [h, w] of run-length data, bottom row first, 0 where data are missing; and whether it has an end."""
    width, height = size
    rows, x, y = np.zeros((height, width), np.uint8), 0, 0
    while at + 2 <= len(data) and y < height:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            pair = (value >> 4, value & 15) if is_rle4 else (value, value)
            row = rows[y, x : x + count]
            row[0::2], row[1::2] = pair
            x += count
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            return rows, True
        elif value == 2:
            if at + 2 > len(data):
                break
            x, y, at = x + data[at], y + data[at + 1], at + 2
        else:
            length = (value + 1) // 2 if is_rle4 else value
            literal = np.frombuffer(data[at : at + length], np.uint8)
            if is_rle4:
                literal = np.column_stack([literal >> 4, literal & 15]).reshape(-1)
            literal = literal[: max(0, min(value, width - x))]
            rows[y, x : x + len(literal)] = literal
            x, at = x + value, at + (length + 1) // 2 * 2
    return rows, False

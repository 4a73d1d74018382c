"""TGA from every corner, with colour maps of every depth, and with runs that go on in the next row.

The header is that of Truevision's TGA 2.0 specification. The format has no signature: the reader accepts only headers
whose fields agree with each other.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size, named

_HEADER = struct.Struct("<BBBHHBHHHHBB")
_MAPPED, _COLOUR, _GREY = 1, 2, 3
_PIXEL_BITS = {_MAPPED: (8, 16), _COLOUR: (15, 16, 24, 32), _GREY: (8, 16)}
_RLE = 8
_FROM_RIGHT, _FROM_TOP = 0x10, 0x20


def read(data: bytes, max_pixels: int) -> Reading | None:
    """A TGA whose header is plausible."""
    if len(data) < _HEADER.size:
        return None
    (id_length, has_map, kind, first, count, map_bits, _, _, width, height, bits, flags) = _HEADER.unpack_from(data)
    base = kind & ~_RLE
    if has_map > 1 or bits not in _PIXEL_BITS.get(base, ()) or (base == _MAPPED) > has_map or flags & 0xC0:
        return None
    if has_map and map_bits not in (15, 16, 24, 32):
        return None
    check_size((width, height), max_pixels)
    at = _HEADER.size + id_length
    map_bytes = count * ((map_bits + 7) // 8) if has_map else 0
    palette = np.frombuffer(data, np.uint8, map_bytes, at)
    unit = (bits + 7) // 8
    rest = data[at + map_bytes :]
    raw = _unpacked(rest, unit, width * height) if kind & _RLE else rest[: width * height * unit]
    if len(raw) < width * height * unit:  # of any file without a signature, some would pass for a TGA that is cut short
        raise ValueError("the picture ends early")
    cells = np.frombuffer(raw, np.uint8).reshape(height, width, unit)
    if base == _MAPPED:
        entries = _colours(palette.reshape(1, count, -1), map_bits)[0]
        indices = cells[..., 0].astype(np.int64) if unit == 1 else cells.view("<u2")[..., 0].astype(np.int64)
        pixels = entries[np.clip(indices - first, 0, count - 1)]
    else:
        pixels = _colours(cells, bits) if base == _COLOUR else cells[..., 0]
    turned = pixels[:: 1 if flags & _FROM_TOP else -1, :: -1 if flags & _FROM_RIGHT else 1]
    return Reading(named(Image.fromarray(np.ascontiguousarray(turned)), "TGA"))


def _colours(cells: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pixels [h, w, bytes] as RGB, or RGBA from 32 bits."""
    if bits in (15, 16):
        words = np.ascontiguousarray(cells).view("<u2")[..., 0]
        fields = np.dstack([words >> 10 & 31, words >> 5 & 31, words & 31])
        return (fields * np.float32(255 / 31) + np.float32(0.5)).astype(np.uint8)
    rgb = cells[..., 2::-1]
    return np.dstack([rgb, cells[..., 3]]) if bits == 32 else rgb


def _unpacked(data: bytes, unit: int, pixels: int) -> bytes:
    """The bytes of run-length data, as far as they go."""
    out, at, length = bytearray(), 0, pixels * unit
    while len(out) < length and at < len(data):
        count = (data[at] & 0x7F) + 1
        if data[at] & 0x80:
            out += data[at + 1 : at + 1 + unit] * count
            at += 1 + unit
        else:
            out += data[at + 1 : at + 1 + count * unit]
            at += 1 + count * unit
    return bytes(out[:length])

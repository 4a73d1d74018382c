"""JPEG 2000 that the decoder refuses: with boxes that are broken, or with fewer samples than its grid has points.

The codestream alone is the picture (ISO/IEC 15444-1, annex A). One whose components all have a sample for so many
points is decoded as if the samples were the grid, then brought to the grid's size.
"""

from __future__ import annotations

import io
import struct

from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size, named

_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZES = struct.Struct(">8I")
_SIZES_AT, _COMPONENTS_AT = 8, 40
"""Offsets in a codestream: of the sizes of grid and tiles, and of the number of components."""


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The picture of a codestream, within a JP2 file or alone."""
    at = data.find(_CODESTREAM)
    if at < 0 or not data.startswith((_SIGNATURE, _CODESTREAM)):
        return None
    codestream = data[at:]
    wide, high, left, top = struct.unpack_from(">4I", codestream, _SIZES_AT)
    size = wide - left, high - top
    check_size(size, max_pixels)
    image = Image.open(io.BytesIO(_with_a_sample_for_each_point(codestream)), formats=["JPEG2000"])
    check_size(image.size, max_pixels)
    image.load()
    return Reading(named(image.resize(size), "JPEG2000") if image.size != size else image)


def _with_a_sample_for_each_point(codestream: bytes) -> bytes:
    """The codestream with a smaller grid, where all components have a sample for the same number of points."""
    (count,) = struct.unpack_from(">H", codestream, _COMPONENTS_AT)
    steps = {codestream[at : at + 2] for at in range(_COMPONENTS_AT + 3, _COMPONENTS_AT + 3 + 3 * count, 3)}
    if len(steps) != 1 or steps == {b"\1\1"}:
        return codestream
    across, down = steps.pop()
    wide, high, left, top, tile_wide, tile_high, tiles_left, tiles_top = _SIZES.unpack_from(codestream, _SIZES_AT)
    wide, left, tiles_left, tile_wide = _smaller(wide, left, tiles_left, tile_wide, across)
    high, top, tiles_top, tile_high = _smaller(high, top, tiles_top, tile_high, down)
    changed = bytearray(codestream)
    _SIZES.pack_into(changed, _SIZES_AT, wide, high, left, top, tile_wide, tile_high, tiles_left, tiles_top)
    for at in range(_COMPONENTS_AT + 3, _COMPONENTS_AT + 3 + 3 * count, 3):
        changed[at : at + 2] = b"\1\1"
    return bytes(changed)


def _smaller(end: int, start: int, tiles_start: int, tile: int, step: int) -> tuple[int, int, int, int]:
    """One direction of the grid in samples. Raises ValueError where tiles would end between samples."""
    tile = min(tile, end - tiles_start)
    if step == 0 or (tiles_start + tile < end and (tile % step or tiles_start % step)):
        raise ValueError(f"tiles of {tile} points have no whole number of samples, expected a multiple of {step}")
    return -(-end // step), -(-start // step), -(-tiles_start // step), -(-tile // step)

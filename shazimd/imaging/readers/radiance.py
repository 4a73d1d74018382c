"""Radiance HDR: linear light in red, green, blue and a common exponent, a run-length scanline each.

The format is that of Ward, "Real Pixels" (Graphics Gems II) and of Radiance's color.c. OpenCV reads it too, but from a
temporary file, which a worker may not write.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.colour import tone_mapped
from shazimd.imaging.readers.reading import Reading, check_size, named

_HEADER = re.compile(rb"#\?R(?:ADIANCE|GBE)\n(?:[^\n]{0,500}\n){1,64}?-Y (\d+) \+X (\d+)\n")
_WIDTHS = range(8, 1 << 15)
"""Widths of scanlines that may be run-length coded."""


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The light, by ``colour.tone_mapped``. Raises ValueError, IndexError for a file that ends early."""
    header = _HEADER.match(data[: 1 << 16])
    if header is None:
        return None
    height, width = int(header[1]), int(header[2])
    check_size((width, height), max_pixels)
    rgbe = _rgbe(data, header.end(), (width, height))
    scale = np.ldexp(np.float32(1), rgbe[..., 3:].astype(np.int32) - (128 + 8))
    light = np.where(rgbe[..., 3:] > 0, rgbe[..., :3] * scale, np.float32(0))
    return Reading(named(Image.fromarray(tone_mapped(light)), "HDR"))


def _rgbe(data: bytes, at: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The four bytes of each pixel [h, w, 4]."""
    width, height = size
    pixels = np.empty((height, width, 4), np.uint8)
    for row in pixels:
        is_coded = data[at : at + 2] == b"\2\2" and data[at + 2] < 128 and width in _WIDTHS
        if not is_coded:
            row[:] = np.frombuffer(data, np.uint8, width * 4, at).reshape(width, 4)
            at += width * 4
            continue
        if int.from_bytes(data[at + 2 : at + 4], "big") != width:
            raise ValueError("a scanline of a Radiance file has another width than the picture")
        at += 4
        for channel in range(4):
            at = _run_lengths(data, at, row[:, channel])
    return pixels


def _run_lengths(data: bytes, at: int, samples: NDArray[np.uint8]) -> int:
    """Fill the samples of a channel; the position behind them."""
    done = 0
    while done < len(samples):
        count = data[at]
        if count > 128:
            samples[done : done + count - 128] = data[at + 1]
            done, at = done + count - 128, at + 2
        elif count:
            literal = np.frombuffer(data, np.uint8, count, at + 1)[: len(samples) - done]
            samples[done : done + count] = literal
            done, at = done + count, at + 1 + count
        else:
            raise ValueError("a scanline of a Radiance file has an empty run")
    return at

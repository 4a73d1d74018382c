"""AVIF files with parts that the decoder refuses, though the picture itself is sound.

Such are a gain map with numbers out of range, and an alpha plane without its size or made of the picture's own tiles.
Readers pass over items of unknown type and references of unknown kind (ISO/IEC 23008-12), so these parts get a type
that no reader knows.
"""

from __future__ import annotations

import io
import re

from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size

_UNKNOWN = b"skip"
_TONE_MAPPING = b"tmap"
_ITEM = re.compile(rb"infe\x02...(..)..(....)", re.DOTALL)
_REFERENCE = re.compile(rb"\0\0..(auxl|dimg)(..)", re.DOTALL)


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The picture of an AVIF without its gain map, else also without its alpha."""
    if data[4:8] != b"ftyp" or b"avif" not in data[8:64]:
        return None
    start = data.find(b"meta")
    end = start + int.from_bytes(data[max(start - 4, 0) : max(start, 0)], "big")
    boxes = data[:end]  # the brands too: one of them announces the tone mapping
    without_map = boxes.replace(_TONE_MAPPING, _UNKNOWN)
    for patched in (without_map, _without_auxiliaries(without_map)):
        if patched != boxes:
            try:
                return _opened(patched + data[end:], max_pixels)
            except (OSError, SyntaxError, ValueError):  # Pillow's errors; the last is told
                if patched is not without_map:
                    raise
    return None


def _opened(data: bytes, max_pixels: int) -> Reading:
    image = Image.open(io.BytesIO(data), formats=["AVIF"])
    check_size(image.size, max_pixels)
    image.load()
    return Reading(image)


def _without_auxiliaries(boxes: bytes) -> bytes:
    """The boxes with alpha and depth items made unknown, and all that they refer to."""
    patched = bytearray(boxes)
    auxiliary = {found[2] for found in _REFERENCE.finditer(boxes) if found[1] == b"auxl"}
    for found in _REFERENCE.finditer(boxes):
        if found[2] in auxiliary:
            patched[found.start(1) : found.end(1)] = _UNKNOWN
    for found in _ITEM.finditer(boxes):
        if found[1] in auxiliary:
            patched[found.start(2) : found.end(2)] = _UNKNOWN
    return bytes(patched)

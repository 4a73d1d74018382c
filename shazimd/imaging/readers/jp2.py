"""JPEG 2000 with boxes that the decoder refuses: the codestream alone is the picture (ISO/IEC 15444-1, annex A)."""

from __future__ import annotations

import io

from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size

_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The codestream of a JP2 file."""
    at = data.find(_CODESTREAM)
    if not data.startswith(_SIGNATURE) or at < 0:
        return None
    image = Image.open(io.BytesIO(data[at:]), formats=["JPEG2000"])
    check_size(image.size, max_pixels)
    image.load()
    return Reading(image)

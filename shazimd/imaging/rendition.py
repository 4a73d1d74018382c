"""A picture for the screen: upright, no larger than asked for, as a JPEG that every browser shows."""

from __future__ import annotations

import io

from PIL import Image

from shazimd.imaging.decode import decode

_QUALITY = 90


def rendition(data: bytes, side_max: int, max_pixels: int) -> bytes:
    """Decode the picture in ``data`` and encode it with a longer side of at most ``side_max`` pixels.

    Raises NotAnImage and TooLarge, see ``decode``."""
    image = decode(data, side_min=side_max, max_pixels=max_pixels, is_named=False).image
    if max(image.size) > side_max:
        image.thumbnail((side_max, side_max), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    # Without subsampling: the difference of two pictures would show the lost colour as a difference.
    # And without the file's comment, which Pillow would copy, and refuse above 64 KiB.
    image.save(file, "JPEG", quality=_QUALITY, subsampling=0, comment=b"")
    return file.getvalue()

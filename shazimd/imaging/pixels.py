"""Hash a picture's pixels, independent of its metadata and lossless encoding.

There are two kinds of hash, which are never equal: of decoded pixels, and of a JPEG's coded data. The second is for
JPEGs decoded at a reduced scale: equal coded data means equal pixels, in every decoder and at every scale. Both are
BLAKE2b, 16 bytes.
"""

from __future__ import annotations

import hashlib
import struct

from PIL import Image

from shazimd.imaging.bounds import JpegStructure
from shazimd.types import PIXELS_BYTES

_STRIP_BYTES = 1 << 22
_COM = 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def name_of_decoded(rgb: Image.Image, alpha: Image.Image | None) -> bytes:
    """Hash an upright RGB picture and its alpha, if any."""
    digest = hashlib.blake2b(struct.pack("<II?", *rgb.size, alpha is not None), digest_size=PIXELS_BYTES, person=b"rgb")
    for image in (rgb, alpha):
        if image is not None:
            _update(digest, image)
    return digest.digest()


def name_of_coded_jpeg(data: bytes, structure: JpegStructure, orientation: int) -> bytes | None:
    """Hash a JPEG's coded data and its EXIF ``orientation``, 1 to 8.

    APPn segments, comments and trailing bytes do not count, except for the markers of the colour transform. An ICC
    profile does not count: it only interprets the pixels. None for bytes between the segments, which each decoder skips
    in its own way.
    """
    if structure.has_rubbish:
        return None
    digest = hashlib.blake2b(bytes([orientation]), digest_size=PIXELS_BYTES, person=b"jpeg")
    jfif, adobe, components = False, None, b""
    view = memoryview(data)
    for marker, start, end in structure.segments:
        body = data[start + 4 : min(start + 32, end)]
        if marker == _APP0:
            jfif |= body.startswith(b"JFIF\0")
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        if marker in _SOF:
            components = body[6::3]
        if not (_APP0 <= marker <= _APP15 or marker == _COM):
            digest.update(view[start:end])
    digest.update(bytes([_is_transformed(jfif, adobe, components)]))
    return digest.digest()


def _is_transformed(jfif: bool, adobe: int | None, components: bytes) -> bool:
    """True for components YCbCr or YCCK, False for RGB or CMYK, by the rules of libjpeg (jdapimin.c)."""
    if len(components) == 3:
        if jfif:
            return True
        return components != b"RGB" if adobe is None else adobe != 0
    return len(components) == 4 and adobe == 2


def _update(digest: hashlib.blake2b, image: Image.Image) -> None:
    """Hash strip by strip, to avoid a copy of a large picture."""
    rows = max(1, _STRIP_BYTES // (image.width * 4))
    for top in range(0, image.height, rows):
        box = 0, top, image.width, min(image.height, top + rows)
        strip = image if rows >= image.height else image.crop(box)  # a crop is a copy, a tenth of the time
        digest.update(strip.tobytes())

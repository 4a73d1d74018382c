"""Hash a picture's pixels, independent of its metadata and lossless encoding.

There are two kinds of hash, which are never equal: of decoded pixels, and of a JPEG's coded data. The second is for
JPEGs decoded at a reduced scale: equal coded data means equal pixels, in every decoder and at every scale. Both are
BLAKE2b, 16 bytes.
"""

from __future__ import annotations

import hashlib
import re
import struct

from PIL import Image

from shazimd.types import PIXELS_BYTES

_STRIP_BYTES = 1 << 22
_EOI, _SOS, _COM = 0xD9, 0xDA, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER_IN_SCAN = re.compile(rb"\xff(?=\xff*[^\x00\xff\xd0-\xd7])")
"""End of coded data, in which 0 (a stuffed byte) or a restart marker follows each 0xFF (ITU-T T.81, B.1.1.5).
A literal first byte makes ``re`` look for it by memchr: 0.6 ms for 2 MB instead of 12."""


def name_of_decoded(rgb: Image.Image, alpha: Image.Image | None) -> bytes:
    """Hash an upright RGB picture and its alpha, if any."""
    digest = hashlib.blake2b(struct.pack("<II?", *rgb.size, alpha is not None), digest_size=PIXELS_BYTES, person=b"rgb")
    for image in (rgb, alpha):
        if image is not None:
            _update(digest, image)
    return digest.digest()


def name_of_coded_jpeg(data: bytes, orientation: int) -> bytes | None:
    """Hash a JPEG's coded data and its EXIF ``orientation``, 1 to 8.

    APPn segments, comments and trailing bytes do not count, except for the markers of the colour transform. An ICC
    profile does not count: it only interprets the pixels. None for bytes between the segments, which each decoder skips
    in its own way.
    """
    segments = _segments(data)
    if segments is None:
        return None
    digest = hashlib.blake2b(bytes([orientation]), digest_size=PIXELS_BYTES, person=b"jpeg")
    jfif, adobe, components = False, None, b""
    for marker, segment in segments:
        body = bytes(segment[4:32])
        if marker == _APP0:
            jfif |= body.startswith(b"JFIF\0")
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        if marker in _SOF:
            components = body[6::3]
        if not (_APP0 <= marker <= _APP15 or marker == _COM):
            digest.update(segment)
    digest.update(bytes([_is_transformed(jfif, adobe, components)]))
    return digest.digest()


def _is_transformed(jfif: bool, adobe: int | None, components: bytes) -> bool:
    """True for components YCbCr or YCCK, False for RGB or CMYK, by the rules of libjpeg (jdapimin.c)."""
    if len(components) == 3:
        if jfif:
            return True
        return components != b"RGB" if adobe is None else adobe != 0
    return len(components) == 4 and adobe == 2


def _segments(data: bytes) -> list[tuple[int, memoryview]] | None:
    """(marker, bytes) of each segment up to the end of the picture, coded data together with its scan's header. None
    for other bytes between segments."""
    found = []
    view, at = memoryview(data), 2
    while at < len(data):
        start = at
        while data[at : at + 1] == b"\xff":
            at += 1
        if at == start or at >= len(data):
            return None
        marker, start = data[at], at - 1
        if marker == _EOI:
            break
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker == _SOS:
            coded = _MARKER_IN_SCAN.search(data, at)
            at = coded.start() if coded else len(data)
        found.append((marker, view[start:at]))
    return found


def _update(digest: hashlib.blake2b, image: Image.Image) -> None:
    """Hash strip by strip, to avoid a copy of a large picture."""
    rows = max(1, _STRIP_BYTES // (image.width * 4))
    for top in range(0, image.height, rows):
        box = 0, top, image.width, min(image.height, top + rows)
        strip = image if rows >= image.height else image.crop(box)  # a crop is a copy, a tenth of the time
        digest.update(strip.tobytes())

"""Limits on the structure of a file, before it is decoded, so that the work of decoders follows from the size of the
picture in pixels and bytes, also for a file that asks for the same work again and again.

The size in pixels alone does not bound it: a JPEG of 21 MB may hold 2,000 scans of 196 million pixels, half a minute of
work, and a GIF of 35 bytes a canvas of as many.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shazimd.errors import TooLarge

SCANS_MAX = 100
"""Scans of a JPEG: progressive encoders make up to 12, and libjpeg-turbo's fuzzers stop at 500."""
PARTS_MAX = 10_000
"""Segments of a JPEG, and chunks of a PNG besides those of coded pixels: cameras write some 300."""
PIXELS_FREE = 1 << 24
"""Pixels that any file may announce: they take a tenth of a second."""
PIXELS_A_BYTE = {"GIF": 2731, "PNG": 8256, "QOI": 62, "TGA": 128, "PCX": 256, "PSD": 512, "PPM": 8}
"""The most pixels that a byte can stand for: in a GIF 4,096 in a code of 12 bits, in a PNG 8 in each of the 1,032 bytes
that deflate makes of one, in the others the longest run. A file that announces more has but a part of its picture."""

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker, also the end of coded data, in which 0 (a stuffed byte) or a restart marker follows each 0xFF (ITU-T T.81,
B.1.1.5). A literal first byte makes ``re`` look for it by memchr: 0.7 ms for 2 MB instead of 12."""
_TEM, _EOI, _SOS = 0x01, 0xD9, 0xDA
_FILL = 0xFF
_PIXELS = (b"IDAT", b"fdAT")


class JpegSegment(NamedTuple):
    marker: int
    """its second byte"""
    start: int
    """place of the marker in the file"""
    end: int
    """place behind it; a scan's coded data belongs to its segment"""


class JpegStructure(NamedTuple):
    segments: list[JpegSegment]
    """up to the end of the picture, or of the file"""
    has_rubbish: bool
    """other bytes lie between the segments"""


def jpeg_structure(data: bytes) -> JpegStructure | None:
    """The segments of a JPEG, found as libjpeg finds them; None for other data. Raises TooLarge for too many."""
    if data[:2] != b"\xff\xd8":
        return None
    segments: list[JpegSegment] = []
    has_rubbish, scans, at = False, 0, 2
    while found := _MARKER.search(data, at):
        marker, start, end = data[found.end() - 1], found.start(), found.end()
        has_rubbish |= bool(data[at:start].strip(b"\xff"))
        if marker == _EOI:
            return JpegStructure(segments, has_rubbish)
        if marker != _TEM:
            end += int.from_bytes(data[end : end + 2], "big")
        if marker == _SOS:
            scans += 1
            end = _end_of_scan(data, end)
        at = min(end, len(data))
        segments.append(JpegSegment(marker, start, at))
        if scans > SCANS_MAX:
            raise TooLarge(f"the JPEG has more than {SCANS_MAX} scans of its pixels, expected fewer")
        if len(segments) > PARTS_MAX:
            raise TooLarge(f"the JPEG has more than {PARTS_MAX} segments, expected fewer")
    return JpegStructure(segments, has_rubbish or at < len(data))


def _end_of_scan(data: bytes, at: int) -> int:
    """Place of the first marker from ``at`` on, and of the fill bytes before it; else the end of the data."""
    found = _MARKER.search(data, at)
    end = found.start() if found else len(data)
    while found and end > at and data[end - 1] == _FILL:
        end -= 1
    return end


def check_png(data: bytes) -> None:
    """Raise TooLarge for a PNG of too many chunks; other data, and a damaged PNG, are left to the decoder."""
    at, parts = (8, 0) if data[:8] == b"\x89PNG\r\n\x1a\n" else (len(data), 0)
    while at + 8 <= len(data) and parts <= PARTS_MAX and data[at + 4 : at + 8] != b"IEND":
        parts += data[at + 4 : at + 8] not in _PIXELS
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    if parts > PARTS_MAX:
        raise TooLarge(f"the PNG has more than {PARTS_MAX} chunks besides its pixels, expected fewer")


def check_density(name: str, size: tuple[int, int], length: int) -> None:
    """Raise TooLarge if the header of a file of ``length`` bytes announces more pixels than they can hold."""
    pixels = size[0] * size[1]
    if pixels > PIXELS_FREE and pixels > PIXELS_A_BYTE.get(name, pixels) * length:
        expected = f"at most {PIXELS_A_BYTE[name]} pixels for each byte of a {name}"
        raise TooLarge(f"the header announces {size[0]}x{size[1]} pixels in {length} bytes, expected {expected}")

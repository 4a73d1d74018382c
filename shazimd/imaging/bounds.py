"""Limits on the structure of a file, before it is decoded, so that the work of decoders follows from the size of the
picture in pixels and bytes, also for a file that asks for the same work again and again.

The size in pixels alone does not bound it: a JPEG of 21 MB may hold 2,000 scans of 196 million pixels, half a minute of
work, and a GIF of 35 bytes a canvas of as many.
"""

from __future__ import annotations

import re
from itertools import islice

from shazimd.errors import TooLarge

SCANS_MAX = 100
"""Scans of a JPEG: progressive encoders make up to 12, and libjpeg-turbo's fuzzers stop at 500."""
PARTS_MAX = 10_000
"""Segments before a JPEG's first scan, and chunks of a PNG besides those of coded pixels: cameras write some 300."""
PIXELS_FREE = 1 << 24
"""Pixels that any file may announce: they take a tenth of a second."""
PIXELS_A_BYTE = {"GIF": 2731, "PNG": 8256, "QOI": 62, "TGA": 128, "PCX": 256, "PSD": 512, "PPM": 8}
"""The most pixels that a byte can stand for: in a GIF 4,096 in a code of 12 bits, in a PNG 8 in each of the 1,032 bytes
that deflate makes of one, in the others the longest run. A file that announces more has but a part of its picture."""

_SCAN = re.compile(rb"\xff\xda")
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_SOS, _EOI = 0xDA, 0xD9
_PIXELS = (b"IDAT", b"fdAT")


def check_structure(data: bytes) -> None:
    """Raise TooLarge for a JPEG or PNG of too many parts. Damaged files are left to the decoder."""
    if data[:2] == b"\xff\xd8":
        _check_jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_png(data)


def check_density(name: str, size: tuple[int, int], length: int) -> None:
    """Raise TooLarge if the header of a file of ``length`` bytes announces more pixels than they can hold."""
    pixels = size[0] * size[1]
    if pixels > PIXELS_FREE and pixels > PIXELS_A_BYTE.get(name, pixels) * length:
        expected = f"at most {PIXELS_A_BYTE[name]} pixels for each byte of a {name}"
        raise TooLarge(f"the header announces {size[0]}x{size[1]} pixels in {length} bytes, expected {expected}")


def _check_jpeg(data: bytes) -> None:
    at = 2
    for _ in range(PARTS_MAX):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        if data[at + 1] == _SOS:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        raise TooLarge(f"the JPEG has more than {PARTS_MAX} segments before its pixels, expected fewer")
    likely = sum(1 for _ in islice(_SCAN.finditer(data, at), SCANS_MAX + 1))
    if likely > SCANS_MAX and _scans(data, at) > SCANS_MAX:
        raise TooLarge(f"the JPEG has more than {SCANS_MAX} scans of its pixels, expected fewer")


def _scans(data: bytes, at: int) -> int:
    """The number of scans from the first on, counted up to one over the limit: the pair of bytes may also stand in a
    segment, or in what follows the picture."""
    found = 0
    while found <= SCANS_MAX and at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _EOI:
        is_scan = data[at + 1] == _SOS
        found += is_scan
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if is_scan:
            marker = _MARKER.search(data, at)
            at = len(data) if marker is None else marker.end() - 2
    return found


def _check_png(data: bytes) -> None:
    at, parts = 8, 0
    while at + 8 <= len(data) and parts <= PARTS_MAX and data[at + 4 : at + 8] != b"IEND":
        parts += data[at + 4 : at + 8] not in _PIXELS
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    if parts > PARTS_MAX:
        raise TooLarge(f"the PNG has more than {PARTS_MAX} chunks besides its pixels, expected fewer")

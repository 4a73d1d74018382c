"""Local features as bytes, which the daemon reads without a decoder.

Packed, little-endian: version u8, flags u8 (``DRAWN``), width u16, height u16 (of the frame the keypoints lie in),
count u16, then the features as ``FEATURE`` records, strongest first, then with the flag ``CLEAR`` the transparency as a
grey WebP, then with the flag ``PRINT`` a length u32 and a dense page's luma as a WebP without loss or a JPEG of that
length, then the small picture as a colour JPEG, WebP or PNG, then with the flag ``MOVING`` two later frames of
``FRAMES_SHAPE``. All are untrusted: the worker that made them may have been taken over, so they are checked without a
decoder.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 11
"""The first byte. Raise it with every change to the bytes or to how features are found: the backfill then makes the
features of all known pictures anew."""
HEADER = struct.Struct("<BBHHH")
DRAWN = 1
"""Flag: the picture is a page, chart or drawing, kept in more pixels than a photograph."""
MOVING = 2
"""Flag: an animation, or a TIFF of several pages, of which two later ones are kept, too."""
CLEAR, ON_BLACK = 4, 8
"""Flags: the picture has transparent pixels, and how far each is transparent is kept; these are black and not white."""
PRINT = 16
"""Flag: a page dense with print, whose luma is kept in more pixels, too."""
PRINT_LENGTH = struct.Struct("<I")
FRAMES_SHAPE = 2, 16, 16
"""Luma, u8: later frames, rows, columns."""
FRAMES_BYTES = 2 * 16 * 16
FEATURE = np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1"), ("word", "<u2"), ("bits", "u1", 16)])
"""x, y in 1/64 pixel of the frame; diameter in 1/32 octaves; angle in 1/256 of a turn, clockwise as the y axis
points down; bit i of ``bits`` (first is the most significant) is bin i of the descriptor."""
STORED_MAX, ASKED_MAX = 128, 400
"""Features kept of a picture, and of a query."""
WINDOW_SIZE_MAX = 26
"""``size`` of features from a frame of twice the size, which a query alone has; the frame's own have 27 at least: 1.8
pixels."""
STORED_BYTES_MAX, ASKED_BYTES_MAX = 1 << 15, 9 << 14
"""Noise takes 19 KB and 70 KB at most, a page dense with print 29.5 KB and 140 KB at most."""
_FLAGS_MAX = DRAWN | MOVING | CLEAR | ON_BLACK | PRINT
_STORED_SIDE_MAX, _ASKED_SIDE_MAX = 1152, 1536
"""Pixels of the small picture's longer side: 3 times 384, of a strip, and 3 times 512."""


class Packed(NamedTuple):
    """The parts of packed features."""

    flags: int
    width: int
    height: int
    """of the frame, pixels"""
    rows: NDArray[np.void]
    """[n], ``FEATURE``"""
    clear: bytes
    """empty for a picture without transparent pixels"""
    print: bytes
    """empty for all but pages dense with print"""
    picture: bytes
    frames: bytes
    """empty for a picture that does not move"""


def split(data: bytes) -> Packed:
    """The parts of packed features, of which the pictures are not looked at.

    Raises ValueError for bytes that ``extract_features`` did not make."""
    if len(data) < HEADER.size or data[0] != VERSION:
        raise ValueError(
            f"packed features begin with {data[:1]!r} and are {len(data)} bytes, expected version {VERSION}"
        )
    _, flags, width, height, count = HEADER.unpack_from(data)
    begin, end = HEADER.size + count * FEATURE.itemsize, len(data) - (FRAMES_BYTES if flags & MOVING else 0)
    clear = data[begin : begin + _length_of_webp(data, begin)] if flags & CLEAR else b""
    begin += len(clear)
    print_ = b""
    if flags & PRINT and begin + PRINT_LENGTH.size <= end:
        length = PRINT_LENGTH.unpack_from(data, begin)[0]
        begin += PRINT_LENGTH.size
        print_ = data[begin : begin + length]
        begin += length
    if begin >= end:
        raise ValueError(f"packed features are {len(data)} bytes, expected {count} features and a picture")
    rows = np.frombuffer(data, FEATURE, count, HEADER.size)
    return Packed(flags, width, height, rows, clear, print_, data[begin:end], data[end:])


def with_points(packed: bytes, points: bytes) -> bytes:
    """Packed features that have none, with these, ``FEATURE`` records."""
    version, flags, width, height, _ = HEADER.unpack_from(packed)
    header = HEADER.pack(version, flags, width, height, len(points) // FEATURE.itemsize)
    return header + points + packed[HEADER.size :]


def stored_points(points: NDArray[np.void]) -> NDArray[np.void]:
    """Of a query's points [n], ``FEATURE``, those that are kept: the strongest of the frame's own."""
    return points[points["size"] > WINDOW_SIZE_MAX][:STORED_MAX]


def is_drawn(data: bytes) -> bool:
    """Whether packed features are those of a page, chart or drawing."""
    return bool(data and data[1] & DRAWN)


def unpack_words(data: bytes) -> NDArray[np.uint16]:
    """The words of packed features, strongest feature first; none for no bytes.

    Raises ValueError for bytes not made by ``extract_features``."""
    if not data:
        return np.empty(0, np.uint16)
    if len(data) < HEADER.size or data[0] != VERSION:
        raise ValueError(f"packed features begin with {data[:1]!r}, expected version {VERSION}")
    count = HEADER.unpack_from(data)[4]
    return np.frombuffer(data, FEATURE, count, HEADER.size)["word"]


def check_packed(data: bytes, *, asked: bool = False) -> None:
    """Raise ValueError unless these are the packed features of a picture, or of a query, or no bytes."""
    if not data:
        return
    count_max, bytes_max = (ASKED_MAX, ASKED_BYTES_MAX) if asked else (STORED_MAX, STORED_BYTES_MAX)
    if len(data) > bytes_max:
        raise ValueError(f"packed features are {len(data)} bytes, expected at most {bytes_max}")
    found = split(data)
    if len(found.rows) > count_max or found.flags > _FLAGS_MAX or not found.width or not found.height:
        frame = f"{len(found.rows)} features in a frame of {found.width} x {found.height} with flags {found.flags}"
        raise ValueError(
            f"packed features have {frame}, expected at most {count_max} in a frame, and flags up to {_FLAGS_MAX}"
        )
    side_max = _ASKED_SIDE_MAX if asked else _STORED_SIDE_MAX
    pictures = {CLEAR: found.clear, PRINT: found.print}
    for picture in (*(part for flag, part in pictures.items() if found.flags & flag), found.picture):
        size = size_of(picture)
        if size is None or not all(1 <= side <= side_max for side in size):
            raise ValueError(f"packed features hold a picture of size {size}, expected 1 to {side_max} pixels a side")


def _length_of_webp(data: bytes, begin: int) -> int:
    """Bytes of the WebP that begins there, by its header (RFC 9649, 2.4); 0 for other bytes."""
    if data[begin : begin + 4] != b"RIFF" or len(data) < begin + 8:
        return 0
    return 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")


def size_of(picture: bytes) -> tuple[int, int] | None:
    """Width and height of a small picture, by the header that OpenCV writes; None for other bytes."""
    try:
        if picture[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack_from(">II", picture, 16)
        if picture[:4] == b"RIFF" and picture[8:16] == b"WEBPVP8 ":
            width, height = struct.unpack_from("<HH", picture, 26)
            return width & 0x3FFF, height & 0x3FFF
        if picture[:4] == b"RIFF" and picture[8:16] == b"WEBPVP8L":
            sides = struct.unpack_from("<I", picture, 21)[0]
            return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
        return _size_of_jpeg(picture) if picture[:2] == b"\xff\xd8" else None
    except struct.error:
        return None


def _size_of_jpeg(picture: bytes) -> tuple[int, int] | None:
    """As the first frame header says (ITU-T T.81, B.2.2), before which OpenCV writes only segments with a length."""
    at = 2
    while at < len(picture):
        marker, length = struct.unpack_from(">HH", picture, at)
        if marker in (0xFFC0, 0xFFC1, 0xFFC2):
            height, width = struct.unpack_from(">HH", picture, at + 5)
            return width, height
        at += 2 + length
    return None

"""JPEG and PNG files that end early or have broken parts, decoded as far as they go, as browsers show them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image, ImageFile

from shazimd.imaging.readers.reading import Reading, check_size

_PNG = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"cICP", b"iCCP"})
"""Chunks that change what is seen. Others, such as text and the frames of an animation, may be broken or huge."""
_DEPTH = slice(8, 9)
"""Bits of a sample, within IHDR."""
_END_OF_JPEG = b"\xff\xd9"


class _Chunks(NamedTuple):
    png: bytes
    """the kept chunks, each with the right checksum"""
    is_sound: bool
    """all kept chunks were there, whole, with their checksums"""
    is_animated: bool
    is_deep: bool
    """samples of 16 bits"""


def read_png(data: bytes, max_pixels: int) -> Reading | None:
    """A PNG by those of its chunks that change what is seen."""
    if not data.startswith(_PNG):
        return None
    chunks = _kept(data)
    try:
        image = _loaded(chunks.png, max_pixels)
    except (OSError, SyntaxError, ValueError):  # Pillow's errors of broken and missing data
        with as_far_as_it_goes():
            return Reading(_loaded(chunks.png, max_pixels), is_damaged=True)
    is_whole = chunks.is_sound and not chunks.is_animated and not chunks.is_deep
    return Reading(image, is_whole=is_whole, is_damaged=not chunks.is_sound)


def read_jpeg(data: bytes, max_pixels: int) -> Reading | None:
    """A JPEG without its end: libjpeg fills the rest with grey, and a progressive file is only less sharp."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    image = Image.open(io.BytesIO(data + _END_OF_JPEG), formats=["JPEG"])
    check_size(image.size, max_pixels)
    return Reading(image, is_damaged=True)


def _loaded(png: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(png), formats=["PNG"])
    check_size(image.size, max_pixels)
    image.load()
    return image


def _kept(data: bytes) -> _Chunks:
    pieces, is_sound, is_animated, is_deep, at, kind = [_PNG], True, False, False, len(_PNG), b""
    while at + 8 <= len(data) and kind != b"IEND":
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        at += 12 + length
        is_animated |= kind == b"acTL"
        is_deep |= kind == b"IHDR" and body[_DEPTH] == b"\x10"
        if kind in _KEPT:
            sum_ = struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
            is_sound &= sum_ == checksum
            pieces += struct.pack(">I", len(body)), kind, body, sum_
    return _Chunks(b"".join(pieces), is_sound and kind == b"IEND", is_animated, is_deep)


@contextmanager
def as_far_as_it_goes() -> Iterator[None]:
    """While entered, Pillow leaves missing pixels black instead of raising."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False

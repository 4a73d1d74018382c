"""Files that ask for much more work than their picture is worth are refused before they are decoded."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from drawn import encoded, picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shazimd.errors import TooLarge
from shazimd.imaging.bounds import PARTS_MAX, SCANS_MAX, jpeg_structure
from shazimd.imaging.decode import Picture, decode


def decoded(data: bytes) -> Picture:
    return decode(data, side_min=256, max_pixels=200_000_000)


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes ``count`` times."""
    file = io.BytesIO()
    picture(200, 150).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - 1) + b"\xff\xd9"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(count: int) -> bytes:
    """A PNG with so many texts."""
    data = encoded(picture(200, 150), "PNG")
    return data[:33] + chunk(b"tEXt", b"k\0v") * count + data[33:]


def test_scans_of_a_jpeg_are_counted() -> None:
    """Those of an encoder are few; the same scan again and again is refused."""
    assert decoded(with_scans(SCANS_MAX // 2)).width == 200
    with pytest.raises(TooLarge, match="scans"):
        decoded(with_scans(SCANS_MAX + 1))


def test_rubbish_between_segments_hides_no_scan() -> None:
    """libjpeg skips it, and decodes all scans behind it."""
    data = with_scans(SCANS_MAX + 1)
    first = data.index(b"\xff\xda")
    with pytest.raises(TooLarge, match="scans"):
        decoded(data[:first] + b"rubbish" + data[first:])


SCAN = b"\xff\xd8\xff\xda\x00\x02"
"""A JPEG's start, and a scan with an empty header."""


@given(st.lists(st.sampled_from(list(b"\xff\x00\xd0\xd7\xd8\xd9\x01a")), max_size=12).map(bytes))
def test_coded_data_ends_at_its_first_marker(data: bytes) -> None:
    """0xFF with any number of 0xFF behind it, then a byte that is neither stuffed nor a restart marker's."""
    ends = []
    for start in range(len(data)):
        rest = data[start:].lstrip(b"\xff")
        if data[start] == 0xFF and rest and rest[0] != 0 and not 0xD0 <= rest[0] <= 0xD7:
            ends.append(start)
    structure = jpeg_structure(SCAN + data)
    assert structure
    assert structure.segments[0].end == len(SCAN) + (ends[0] if ends else len(data))


def test_a_long_run_of_fill_bytes_is_looked_at_once() -> None:
    """Not once for each of its bytes, which would take hours."""
    run = b"\xff" * 4_000_000
    structure = jpeg_structure(SCAN + run + b"\x00" + run + b"\xd9")
    assert structure
    assert [segment.end for segment in structure.segments] == [len(SCAN + run) + 1]


def test_what_only_looks_like_a_scan_does_not_count() -> None:
    """As in a movie behind the picture, or in a comment."""
    data = encoded(picture(200, 150), "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 4002) + b"\xff\xda" * 2000
    assert decoded(data[:2] + comment + data[2:] + b"\xff\xda" * 5000).width == 200


def test_segments_and_chunks_are_counted() -> None:
    """Millions of empty ones are read one by one by each decoder."""
    data = encoded(picture(200, 150), "JPEG")
    assert decoded(data[:2] + b"\xff\xfe\0\2" * 1000 + data[2:]).width == 200
    assert decoded(with_chunks(1000)).width == 200
    with pytest.raises(TooLarge, match="segments"):
        decoded(data[:2] + b"\xff\xfe\0\2" * PARTS_MAX + data[2:])
    with pytest.raises(TooLarge, match="chunks"):
        decoded(with_chunks(PARTS_MAX + 1))


def test_a_canvas_is_no_larger_than_its_bytes_can_fill() -> None:
    """A GIF of 35 bytes does not announce 196 million pixels; one of few pixels may be nearly empty."""

    def gif(side: int) -> bytes:
        frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x4c\1\0"
        return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame + b"\x3b"

    assert decoded(gif(1000)).width == 1000
    with pytest.raises(TooLarge, match="14000x14000 pixels in 35 bytes"):
        decoded(gif(14000))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TGA", "PCX"])
def test_the_emptiest_picture_that_an_encoder_makes_is_decoded(kind: str) -> None:
    """One colour, as few bytes as the format can."""
    file = io.BytesIO()
    options = {"compression": "tga_rle"} if kind == "TGA" else {}
    Image.new("1" if kind in ("PNG", "PCX") else "L", (4200, 4200)).save(file, kind, **options)
    assert decoded(file.getvalue()).height == 4200

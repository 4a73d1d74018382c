from __future__ import annotations

import struct

import pytest
from drawn import encoded, picture
from PIL import Image

from shazimd.imaging.decode import decode

EXIF_SEGMENT = b"\xff\xe1\x00\x08Exif\0\0"
COMMENT = b"\xff\xfe\x00\x07hello"


def _name(data: bytes, side_min: int = 64) -> bytes | None:
    return decode(data, side_min=side_min, max_pixels=1_000_000).pixels


def _large_jpeg(**options: object) -> bytes:
    """Large enough to be decoded at a reduced scale."""
    return encoded(picture(800, 600), "JPEG", **options)


def _after_start(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def test_lossless_copies_have_the_same_name() -> None:
    """PNG, WebP, TIFF and BMP of one picture, with metadata or without."""
    image = picture()
    names = {
        _name(encoded(image, "PNG")),
        _name(encoded(image, "PNG", dpi=(300, 300))),
        _name(encoded(image, "WEBP", lossless=True)),
        _name(encoded(image, "TIFF")),
        _name(encoded(image, "BMP")),
    }
    assert len(names) == 1
    assert None not in names
    assert len(names.pop() or b"") == 16


def test_a_small_jpeg_and_its_lossless_copy_have_the_same_name() -> None:
    """A JPEG that is decoded whole is named by its pixels."""
    data = encoded(picture(), "JPEG")
    whole = decode(data, side_min=64, max_pixels=1_000_000).image
    assert _name(data) == _name(encoded(whole, "PNG"))


def test_one_pixel_changes_the_name() -> None:
    """So does the shape that the same bytes are laid out in."""
    image = picture()
    changed = image.copy()
    changed.putpixel((3, 4), (1, 2, 3))
    reshaped = Image.frombytes("RGB", (120, 160), image.tobytes())
    assert len({_name(encoded(each, "PNG")) for each in (image, changed, reshaped)}) == 3


def test_transparency_counts() -> None:
    """A picture with alpha is not the same as what it looks like on white; how alpha is coded does not matter."""
    clear = picture().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    flat = Image.new("RGB", clear.size, (255, 255, 255))
    flat.paste(clear, (0, 0), clear)
    opaque = picture().convert("RGBA")
    assert _name(encoded(clear, "PNG")) == _name(encoded(clear, "WEBP", lossless=True, exact=True))
    assert _name(encoded(clear, "PNG")) != _name(encoded(flat, "PNG"))
    assert _name(encoded(opaque, "PNG")) == _name(encoded(picture(), "PNG"))


def test_metadata_of_a_large_jpeg_does_not_count() -> None:
    """EXIF, comments, an ICC profile and what follows the picture change nothing; the picture itself does."""
    plain = _large_jpeg()
    same = [_after_start(plain, EXIF_SEGMENT, COMMENT), plain + b"trailer", _large_jpeg(icc_profile=bytes(400))]
    assert [_name(data) for data in same] == [_name(plain)] * 3
    assert _name(_large_jpeg(quality=60)) != _name(plain)


def test_the_orientation_of_a_large_jpeg_counts() -> None:
    """The same coded picture turned another way is another picture."""
    names = set()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        names.add(_name(_large_jpeg(exif=exif.tobytes())))
    assert len(names) == 8
    assert _name(_large_jpeg()) in names


@pytest.mark.parametrize(("kind", "value"), [(5, struct.pack("<II", 6, 1)), (11, struct.pack("<f", 6))])
def test_an_orientation_of_another_type_is_the_same(kind: int, value: bytes) -> None:
    """A rational or a float in place of a short: the picture is whole, and turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    held = value if len(value) <= 4 else struct.pack("<I", 26)  # behind the directory
    odd = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, 1) + held + bytes(4) + value
    found = decode(_large_jpeg(exif=odd), side_min=64, max_pixels=1_000_000)
    assert (found.width, found.height, found.damaged) == (600, 800, False)
    assert found.pixels == _name(_large_jpeg(exif=exif.tobytes()))


def test_how_a_large_jpeg_codes_its_colours_counts() -> None:
    """An Adobe segment that makes decoders take the components for RGB changes the picture, so its name too."""
    jfif = _large_jpeg()
    bare = jfif[:2] + jfif[2 + 2 + struct.unpack(">H", jfif[4:6])[0] :]
    adobe = [b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) for transform in (0, 1)]
    as_rgb, as_ycc = (_after_start(bare, segment) for segment in adobe)
    assert _name(bare) == _name(as_ycc) == _name(jfif)
    assert _name(as_rgb) != _name(bare)


@pytest.mark.parametrize("progressive", [False, True])
def test_bytes_within_the_coded_picture_count(progressive: bool) -> None:
    """In every scan, to the last byte before the end of the picture."""
    data = _large_jpeg(progressive=progressive)
    at = len(data) - 12
    changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
    assert changed[at] not in (0x00, 0xFF)
    assert _name(changed) != _name(data)


def test_a_large_jpeg_with_rubbish_between_its_segments_has_no_name() -> None:
    """Decoders skip it, each in its way: better no name than one that may be shared by different pictures."""
    data = _large_jpeg()
    after_jfif = 4 + struct.unpack(">H", data[4:6])[0]
    assert _name(data[:after_jfif] + b"\0\0" + data[after_jfif:]) is None

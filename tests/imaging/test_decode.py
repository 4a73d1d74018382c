from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shazimd.errors import NotAnImage, ShazimdError, TooLarge
from shazimd.imaging.decode import Picture, decode
from shazimd.imaging.hashes import oriented_hashes

LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True, "exact": True}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
    ("PPM", {}),
    ("QOI", {}),
    ("TGA", {}),
    ("PCX", {}),
    ("SGI", {}),
    ("JPEG2000", {"irreversible": False}),
    ("JXL", {"lossless": True}),
]
LOSSY = [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("AVIF", {"quality": 95}), ("HEIF", {"quality": 95})]


def _decode(data: bytes, side_min: int = 64, max_pixels: int = 1_000_000) -> Picture:
    return decode(data, side_min=side_min, max_pixels=max_pixels)


def _array(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image, np.int16)


def _png16(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16-bit grey [h, w] or RGB [h, w, 3], which Pillow can't write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(("format_", "options"), LOSSLESS, ids=lambda v: v if isinstance(v, str) else "")
def test_lossless_formats_give_the_pixels_that_were_written(format_: str, options: dict[str, object]) -> None:
    """Every pixel, the size and the format's name."""
    original = picture()
    found = _decode(encoded(original, format_, **options))
    assert (found.width, found.height, found.format) == (160, 120, format_)
    assert np.array_equal(_array(found.image), _array(original))


@pytest.mark.parametrize(("format_", "options"), LOSSY, ids=lambda v: v if isinstance(v, str) else "")
def test_lossy_formats_give_the_picture(format_: str, options: dict[str, object]) -> None:
    """Within a few levels of what was written."""
    original = picture()
    found = _decode(encoded(original, format_, **options))
    assert (found.width, found.height, found.format, found.image.mode) == (160, 120, format_, "RGB")
    assert np.abs(_array(found.image) - _array(original)).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_every_colour_mode_shows_what_was_drawn(mode: str) -> None:
    """A picture saved in another mode has the brightness that it had."""
    original = picture(seed=3)
    if mode == "LAB":
        lab = np.zeros((120, 160, 3), np.uint8) + np.uint8(128)
        lab[..., 0] = np.asarray(original.convert("L"))
        converted = Image.merge("LAB", [Image.fromarray(np.ascontiguousarray(lab[..., i])) for i in range(3)])
    else:
        converted = original.convert(mode)
    found = _decode(encoded(converted, "TIFF"))
    tolerance = 40 if mode in ("1", "LAB") else 8  # a dither; L* is not luma
    small = (8, 6)
    difference = _array(found.image.convert("L").resize(small)) - _array(original.convert("L").resize(small))
    assert np.abs(difference).mean() < tolerance


@pytest.mark.parametrize("channels", [None, 3], ids=["grey", "RGB"])
def test_16_bits_are_scaled_not_clipped(channels: int | None) -> None:
    """A 16-bit picture shows its high bytes, and is never taken for the same as its 8-bit copy."""
    high = np.asarray(picture() if channels else picture().convert("L"))
    found = _decode(_png16((high.astype(np.uint16) << 8 | 0x5A).astype(np.uint16)))
    assert np.array_equal(_array(found.image.convert("RGB" if channels else "L")), high.astype(np.int16))
    assert found.pixels is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (0.0, 65535.0), (-3.0, 12.0)])
def test_float_pictures_are_scaled_by_their_range(low: float, high: float) -> None:
    """Black to white fills the 8 bits, whichever range the file's numbers have; what is no number is black."""
    ramp = np.linspace(low, high, 256, dtype=np.float32)[np.newaxis].repeat(40, 0)
    broken = ramp.copy()
    broken[0, 0] = np.nan
    found = _decode(encoded(Image.fromarray(broken), "TIFF"))
    assert np.abs(_array(found.image)[1:, :, 0] - np.arange(256)).max() <= 1


def test_transparent_pixels_are_white() -> None:
    """Whatever colour hides below: alpha, a palette's transparent entry, a transparent grey."""
    clear = Image.new("RGBA", (40, 40), (200, 10, 10, 0))
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    for data in (
        encoded(clear, "PNG"),
        encoded(palette, "PNG", transparency=1),
        encoded(palette, "GIF", transparency=1),
        encoded(Image.new("L", (40, 40), 9), "PNG", transparency=9),
        encoded(clear, "WEBP", lossless=True),
    ):
        found = _decode(data)
        # Of nothing at all, over black.
        assert (found.image.getextrema(), found.on_black) == (((0, 0),) * 3, True)
    half = _decode(encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 128)), "PNG"))
    assert half.image.getpixel((5, 5)) == (127, 127, 127)
    assert half.clear is not None
    assert (half.clear.getpixel((5, 5)), half.on_black) == (127, False)


def test_a_white_logo_is_looked_at_on_black() -> None:
    """On white it would be an empty page."""
    logo = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    logo.paste((250, 250, 250, 255), (10, 10, 30, 30))
    found = _decode(encoded(logo, "PNG"))
    assert found.on_black
    assert [found.image.getpixel(place) for place in ((5, 5), (20, 20))] == [(0, 0, 0), (250, 250, 250)]


def test_of_an_animation_the_first_frame_counts() -> None:
    """An animation shows its first frame, and is never taken for the same as that frame alone."""
    first, second = picture(seed=1), picture(seed=2)
    moving = _decode(encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True))
    assert np.array_equal(_array(moving.image), _array(first))
    assert moving.pixels is None
    assert _decode(encoded(first, "WEBP", lossless=True)).pixels is not None


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "JXL"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_upright_once(format_: str, orientation: int) -> None:
    """A file whose EXIF says that it lies turned shows the same picture as the upright file, in every format."""
    upright = picture(seed=5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turned = Image.Exif()
    turned[0x0112] = inverse
    lying = upright.copy()
    lying.info["exif"] = turned.tobytes()
    lying = ImageOps.exif_transpose(lying)
    options = {"lossless": True} if format_ in ("WEBP", "JXL") else {}
    if format_ == "JXL":  # its own header turns the picture; this encoder writes none, so EXIF must not
        lying = upright
    found = _decode(encoded(lying, format_, exif=exif.tobytes(), **options))
    assert (found.width, found.height) == (160, 120)
    assert np.abs(_array(found.image) - _array(upright)).mean() < 5


def test_real_files_of_all_orientations_look_the_same(shared: Path) -> None:
    """The eight files of a scene differ by a few bits of their hashes at most."""
    folder = shared / "data/odd/exif-orientation-examples"
    for scene in ("Landscape", "Portrait"):
        files = sorted(folder.rglob(f"{scene}_[1-8].jpg"))
        assert len(files) == 8
        pictures = [_decode(file.read_bytes(), side_min=256, max_pixels=50_000_000) for file in files]
        for hashes in zip(*(oriented_hashes(p.image.convert("L"))[0] for p in pictures), strict=True):
            assert max((h ^ hashes[0]).bit_count() for h in hashes) <= 3
        assert len({(p.width, p.height) for p in pictures}) == 1


@pytest.mark.parametrize(
    ("side_min", "expected"), [(64, (100, 75)), (75, (100, 75)), (76, (200, 150)), (600, (800, 600))]
)
def test_a_jpeg_is_decoded_no_larger_than_needed(side_min: int, expected: tuple[int, int]) -> None:
    """The shorter side never falls below what is asked for; the size told is that of the whole picture."""
    found = _decode(encoded(picture(800, 600), "JPEG"), side_min=side_min)
    assert found.image.size == expected
    assert (found.width, found.height) == (800, 600)


def test_bombs_are_refused_by_their_header() -> None:
    """More pixels than allowed: TooLarge, and not a pixel is decoded."""
    data = bytearray(encoded(Image.new("L", (16, 16)), "BMP"))
    data[18:26] = struct.pack("<ii", 30_000, 30_000)
    with pytest.raises(TooLarge, match="far more than the 1000000 pixels"):
        _decode(bytes(data))
    at_the_limit = encoded(picture(100, 100), "PNG")
    assert _decode(at_the_limit, max_pixels=10_000).width == 100
    with pytest.raises(TooLarge, match="100x100 = 10000 pixels, expected at most 9999"):
        _decode(at_the_limit, max_pixels=9_999)


CUT = [("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True}), ("PNG", {})]
REFUSED = [case for case in LOSSLESS + LOSSY if case[0] not in ("JPEG", "PNG")] + [("GIF", {})]


@pytest.mark.parametrize(("format_", "options"), REFUSED, ids=lambda v: str(v)[:8])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_no_pictures(format_: str, options: dict[str, object], share: float) -> None:
    """In formats whose decoders give nothing for a part."""
    data = encoded(picture(), format_, **options)
    with pytest.raises(NotAnImage):
        _decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(("format_", "options"), CUT, ids=["JPEG", "progressive", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_jpeg_or_png_shows_the_rows_that_are_there(
    format_: str, options: dict[str, object], share: float
) -> None:
    """It is damaged, has no name of its pixels, and its size is that of the rows; a progressive one has all."""
    original = picture()
    data = encoded(original, format_, **options)
    found = _decode(data[: int(len(data) * share)], side_min=512)
    assert (found.damaged, found.pixels, found.width) == (True, None, 160)
    assert found.height == found.image.height
    assert (found.height == 120) if "progressive" in options else (120 * share * 0.6 < found.height <= 120)
    rows = max(1, int(found.height * 0.8))
    assert np.abs(_array(found.image)[:rows] - _array(original)[:rows]).mean() < (20 if "progressive" in options else 6)
    assert not _decode(data).damaged


@pytest.mark.parametrize(("format_", "options"), CUT, ids=["JPEG", "progressive", "PNG"])
def test_a_file_without_a_row_is_no_picture(format_: str, options: dict[str, object]) -> None:
    """Its header alone makes no picture."""
    data = encoded(picture(), format_, **options)
    start = data.find(b"IDAT") + 4 if format_ == "PNG" else data.find(b"\xff\xda")
    with pytest.raises(NotAnImage):
        _decode(data[: start + 4])


DOCUMENTS = {
    "an SVG drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a PDF document": b"%PDF-1.7\n",
    "a PostScript document": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_are_refused_with_the_reason(kind: str) -> None:
    """To draw them would need programs that read files and run scripts."""
    with pytest.raises(NotAnImage, match=f"the file is {kind}, expected a raster picture"):
        _decode(DOCUMENTS[kind])


def test_an_svg_is_known_behind_its_xml_header() -> None:
    """And behind comments and a document type."""
    head = b"\n<?xml version='1.0'?>\n<!-- made by hand -->\n<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'>\n<svg>"
    with pytest.raises(NotAnImage, match="an SVG drawing"):
        _decode(head)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(2000)], ids=["empty", "text", "zeros"])
def test_what_is_no_raster_picture_is_refused(data: bytes) -> None:
    """The message tells what was found."""
    with pytest.raises(
        NotAnImage, match="the file is empty" if not data else "the file begins with the bytes [0-9a-f]{2}"
    ):
        _decode(data)


@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_damaged_files_fail_as_ours_or_not_at_all(format_: str, rng: random.Random) -> None:
    """Whatever bytes change, decode gives a picture or one of our errors."""
    data = bytearray(encoded(picture(40, 30), format_))
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    _check(_outcome(bytes(data), 1_000_000))


def test_odd_files_give_a_picture_or_an_error_of_ours(shared: Path) -> None:
    """A sample of the files that decoders are tested with."""
    files = [file for file in sorted((shared / "data/odd").rglob("*")) if file.is_file()]
    outcomes = [_outcome(file.read_bytes(), 50_000_000) for file in random.Random(7).sample(files, 400)]
    for outcome in outcomes:
        _check(outcome)
    assert sum(isinstance(outcome, Picture) for outcome in outcomes) > 80


def _outcome(data: bytes, max_pixels: int) -> Picture | ShazimdError:
    """The picture or our error; any other exception goes through and fails the test."""
    try:
        return _decode(data, max_pixels=max_pixels)
    except (NotAnImage, TooLarge) as error:
        return error


def _check(outcome: Picture | ShazimdError) -> None:
    if isinstance(outcome, ShazimdError):
        assert outcome.message
    else:
        assert (outcome.image.mode, min(outcome.image.size) > 0) == ("RGB", True)

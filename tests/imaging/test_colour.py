from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, picture
from numpy.typing import NDArray
from PIL import Image
from profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO, SRGB, cmyk_profile, grey_profile, in_cmyk, in_space, rgb_profile

from shazimd.imaging.colour import tone_mapped
from shazimd.imaging.decode import decode
from shazimd.imaging.extract import Extractor
from shazimd.search.score import best_orientation
from shazimd.types import DEFAULT_WEIGHTS


def shown(data: bytes) -> NDArray[np.int16]:
    return np.asarray(decode(data, side_min=160, max_pixels=50_000_000).image, np.int16)


def colourful() -> Image.Image:
    """All hues and lightnesses inside every space's triangle."""
    y, x = np.mgrid[0:160, 0:200]
    rgb = np.stack([40 + x, 220 - y, 60 + (x + y) // 3], axis=-1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(DISPLAY_P3, 2.2), (ADOBE_RGB, 2.2), (PROPHOTO, 1.8)], ids=["P3", "AdobeRGB", "ProPhoto"]
)
def test_a_profile_is_converted_to_srgb(format_: str, primaries: tuple[tuple[float, ...], ...], gamma: float) -> None:
    """The same picture, saved in another space, shows within a few levels what it shows in sRGB."""
    original = colourful()
    other = in_space(original, primaries, gamma)
    options = (
        {"quality": 98, "subsampling": 0} if format_ == "JPEG" else {"lossless": True} if format_ == "WEBP" else {}
    )
    tagged = shown(encoded(other, format_, icc_profile=rgb_profile(primaries, gamma), **options))
    assert np.abs(tagged - np.asarray(original)).mean() < 2
    assert np.abs(shown(encoded(other, format_, **options)) - np.asarray(original)).mean() > 5


@pytest.mark.parametrize("format_", ["TIFF", "JPEG"])
def test_a_cmyk_profile_is_converted_to_srgb(format_: str) -> None:
    """Inks are shown by their profile."""
    options = {"quality": 98} if format_ == "JPEG" else {}
    tagged = shown(encoded(in_cmyk(colourful()), format_, icc_profile=cmyk_profile(), **options))
    assert np.abs(tagged - np.asarray(colourful())).mean() < 4


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_cut_jpeg_with_a_profile_shows_the_rows_that_are_there(mode: str) -> None:
    """Of inks and of grey, as of RGB: rows without data are left out."""
    image = in_cmyk(colourful()) if mode == "CMYK" else colourful().convert("L")
    profile = cmyk_profile() if mode == "CMYK" else grey_profile(1.0)
    data = encoded(image, "JPEG", quality=98, icc_profile=profile)
    scan = data.index(b"\xff\xda")
    found = decode(data[: scan + (len(data) - scan) // 2], side_min=160, max_pixels=50_000_000)
    assert found.damaged
    assert found.image.size == (200, found.height)
    assert 50 < found.height < 120


def test_a_transparent_grey_is_white_under_a_profile() -> None:
    """The grey below does not show."""
    grey = Image.linear_gradient("L")
    found = shown(encoded(grey, "PNG", transparency=9, icc_profile=grey_profile(1.0)))
    assert found[9].min() == 255
    assert found[10].max() < found[60].min() < 255
    assert abs(int(found[60, 0, 0]) - 60) > 20


def test_a_picture_in_four_spaces_scores_above_97_percent(groceries: Path) -> None:
    """The score of a photograph with itself in Display P3, Adobe RGB, ProPhoto RGB and CMYK."""
    photo = Image.open(sorted(groceries.iterdir())[100]).convert("RGB")
    extractor = Extractor(None, 50_000_000)
    original = extractor.query(encoded(photo, "PNG"))
    spaces = [(DISPLAY_P3, 2.2), (ADOBE_RGB, 2.2), (PROPHOTO, 1.8)]
    others = [encoded(in_space(photo, p, g), "PNG", icc_profile=rgb_profile(p, g)) for p, g in spaces]
    others.append(encoded(in_cmyk(photo), "TIFF", icc_profile=cmyk_profile()))
    scores = [
        best_orientation(extractor.query(data).orientations, original.orientations, DEFAULT_WEIGHTS)[0]
        for data in others
    ]
    assert min(scores) > 0.97


def test_a_profile_as_good_as_srgb_changes_nothing() -> None:
    """Nor does a broken one, or one of another kind than the picture."""
    original = colourful()
    for profile in (rgb_profile(SRGB, 2.2), b"no profile", cmyk_profile(), rgb_profile(SRGB, 2.2)[:200]):
        found = shown(encoded(original, "PNG", icc_profile=profile))
        assert np.abs(found - np.asarray(original)).max() <= 12
        assert np.abs(found - np.asarray(original)).mean() < 2


def test_the_same_samples_are_the_same_pixels_under_any_profile() -> None:
    """As for JPEG data: a profile is metadata to the verdict exact."""
    names = {
        decode(encoded(picture(), "PNG", **options), side_min=64, max_pixels=1_000_000).pixels
        for options in ({}, {"icc_profile": rgb_profile(PROPHOTO, 1.8)})
    }
    assert len(names) == 1
    assert None not in names


def png_with_code_points(image: Image.Image, primaries: int, transfer: int) -> bytes:
    body = bytes([primaries, transfer, 0, 1])
    chunk = struct.pack(">I", 4) + b"cICP" + body + struct.pack(">I", zlib.crc32(b"cICP" + body))
    plain = encoded(image, "PNG")
    return plain[:33] + chunk + plain[33:]  # after the signature and IHDR


def test_code_points_are_converted_to_srgb() -> None:
    """A PNG whose cICP chunk says Display P3 shows what it shows with P3's profile."""
    p3_by_srgb_curve = in_space(colourful(), DISPLAY_P3, 2.2)
    found = shown(png_with_code_points(p3_by_srgb_curve, 12, 13))
    assert np.abs(found - np.asarray(colourful())).mean() < 4
    assert np.array_equal(shown(png_with_code_points(colourful(), 1, 13)), np.asarray(colourful()))


@pytest.mark.parametrize(("transfer", "mid"), [(16, 0.58), (18, 0.75)], ids=["PQ", "HLG"])
def test_high_dynamic_range_is_toned_down(transfer: int, mid: float) -> None:
    """Reference white is bright, but not the brightest; a ramp of light stays a ramp, within the table's steps."""
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[np.newaxis, :, np.newaxis].repeat(64, 0).repeat(3, 2)
    found = shown(png_with_code_points(Image.fromarray(ramp), 9, transfer))[5, :, 1]
    assert np.diff(found).min() >= -8
    assert found[-1] >= 250
    assert 150 < found[int(mid * 255)] < 240


def test_light_beyond_white_keeps_its_order() -> None:
    """Linear light of a Radiance file: all of it shows, brighter where there is more."""
    light = np.geomspace(0.01, 50, 100, dtype=np.float32)[np.newaxis, :, np.newaxis].repeat(3, 2)
    found = tone_mapped(light)[0, :, 0].astype(np.int16)
    assert (np.diff(found) >= 0).all()
    assert found[-1] >= 250
    assert len(set(found.tolist())) > 60


def test_a_real_picture_in_high_and_in_standard_range_looks_alike(shared: Path) -> None:
    """libavif's test picture with PQ in sRGB's, P3's and BT.2020's primaries, and the same in sRGB."""
    folder = shared / "data/odd/libavif/tests/data"
    names = ("hdr_srgb", "hdr_p3", "hdr_rec2020", "sdr_srgb")
    first, *others = (
        np.asarray(decode((folder / f"colors_{name}.avif").read_bytes(), side_min=64, max_pixels=50_000_000).image)
        for name in names
    )
    for other, most in zip(others, (6, 8, 45), strict=True):  # white is bright grey in high range
        assert np.abs(first.astype(np.int16) - other).mean() < most

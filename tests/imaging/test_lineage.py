"""Which of two pictures was made from the other, by their pixels alone; on photos drawn in the test."""

from __future__ import annotations

import io

import numpy as np
import pytest
from daemon_process import drawing
from drawn import encoded, picture
from fingerprints import query_of
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.quality.edits import (
    captioned,
    cropped,
    framed,
    noisy,
    printed,
    rotated,
    scaled,
    stamped,
    tilted,
    vignetted,
)
from shazimd.imaging.header import header_facts
from shazimd.imaging.lineage import lineage, picture_facts
from shazimd.imaging.verify import verify
from shazimd.types import Evidence, Verdict

MAX_PIXELS = 10_000_000
RNG = np.random.default_rng(5)


def test_headers_are_parsed_by_the_plug_ins_of_our_formats() -> None:
    """A grey XBM, which shazimd does not decode, has no facts; a grey PNG and a grey TIFF have."""
    files = [io.BytesIO(encoded(Image.new("1", (8, 8)), kind)) for kind in ("PNG", "TIFF", "XBM")]
    assert [True, True, False] == [header_facts(file).grey for file in files]


def saved(image: Image.Image, quality: int) -> bytes:
    return encoded(image, "JPEG", quality=quality)


def photo(width: int, height: int) -> Image.Image:
    """A picture with soft tones, sharp edges and fine texture."""
    tones = Image.blend(drawing(4, (width, height)), picture(width, height, 4), 0.5)
    noise = np.random.default_rng(4).normal(128, 60, (height, width)).clip(0, 255).astype(np.uint8)
    texture = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(0.7)), np.float32) - 128
    return Image.fromarray(np.clip(np.asarray(tones, np.float32) + texture[..., None], 0, 255).astype(np.uint8))


ORIGINAL = saved(photo(480, 352), 75)
PICTURE = Image.open(io.BytesIO(ORIGINAL)).convert("RGB")
EDITS = {
    "crop": ("crop", cropped(PICTURE, 0.6, RNG)),
    "frame": ("frame", framed(PICTURE, 0.08, (255, 255, 255))),
    "caption": ("frame", captioned(PICTURE, 0.2, RNG)),
    "turned": ("corners", rotated(PICTURE, 12)),
    "smaller": ("blur", scaled(PICTURE, 0.5)),
    "larger": ("upscaled", scaled(PICTURE, 2)),
    "blurred": ("blur", PICTURE.filter(ImageFilter.GaussianBlur(2))),
    "noisy": ("noise", noisy(PICTURE, 15, RNG)),
    "mirrored": ("recompressed", ImageOps.mirror(PICTURE)),
    "turned upside down": ("recompressed", PICTURE.transpose(Image.Transpose.ROTATE_180)),
    "grey": ("recompressed", PICTURE.convert("L").convert("RGB")),
    "darker": ("recompressed", ImageEnhance.Brightness(PICTURE).enhance(0.8)),
    "seen from the side": ("corners or frame", tilted(PICTURE, 0.12, RNG)),
    "printed": ("corners", printed(PICTURE, RNG)),
    "darkened edges": ("darkened", vignetted(PICTURE)),
    "stamped": ("recompressed", stamped(PICTURE, 0.15, RNG)),
}


def signs(asked: bytes, known: bytes) -> Evidence:
    found = verify(query_of(asked).features, query_of(known).fingerprint.features)
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    return lineage(asked, known, found.mapping, MAX_PIXELS)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_has_the_sign_whichever_is_asked(name: str) -> None:
    """The edit is saved at a higher quality than its original, and has the sign; the original has none."""
    sign, edit = EDITS[name]
    edited = saved(edit, 92)
    forward, backward = signs(edited, ORIGINAL), signs(ORIGINAL, edited)
    for found in (forward.asked, backward.known):
        assert not set(sign.split(" or ")).isdisjoint(found)
    assert (forward.known, backward.asked) == ((), ())


def test_a_mirrored_export_of_a_picture_with_grain_is_told() -> None:
    """Fitted tones would flatten the grain; the export rounds its coefficients."""
    grain = np.random.default_rng(2).normal(0, 3, (352, 480, 1))
    picture = Image.fromarray((np.asarray(drawing(3, (480, 352)), np.float32) + grain).clip(0, 255).astype(np.uint8))
    original, export = saved(picture, 92), saved(ImageOps.mirror(picture), 80)
    assert signs(export, original) == Evidence(("recompressed",), (), signs(export, original).detail)


def test_levels_lost_at_the_ends_of_the_scale_are_a_sign() -> None:
    """A picture richer in contrast lost shades; one that is darker lost none, also where the original was clipped."""
    bright = ImageEnhance.Brightness(PICTURE).enhance(1.5)
    original, darker, richer = (
        encoded(each, "PNG")
        for each in (bright, ImageEnhance.Brightness(bright).enhance(0.7), ImageEnhance.Contrast(bright).enhance(1.5))
    )
    assert signs(richer, original).asked == ("colours",)
    assert signs(original, richer).known == ("colours",)
    assert signs(darker, original).known == ()


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP"])
def test_a_coarse_compression_is_told_from_its_origin(fmt: str) -> None:
    """It loses more than the JPEG that it was made from: never a sign against that."""
    copy = encoded(PICTURE, fmt, quality=25)
    forward, backward = signs(copy, ORIGINAL), signs(ORIGINAL, copy)
    assert (forward.known, backward.asked) == ((), ())
    assert fmt == "WEBP" or "recompressed" in forward.asked


def test_the_ratio_of_the_detail_is_that_of_the_sizes() -> None:
    """A picture of half the size has half the detail, also when it was made large again."""
    again = saved(scaled(scaled(PICTURE, 0.5), 2), 92)
    detail = signs(again, ORIGINAL).detail
    assert detail is not None
    assert 0.35 < detail < 0.75


def test_a_png_made_from_a_jpeg_is_told() -> None:
    """Lossless, and yet no original."""
    copy = encoded(ImageEnhance.Brightness(PICTURE).enhance(0.95), "PNG")
    assert signs(copy, ORIGINAL).asked == ("recompressed",)


def test_facts_are_read_from_the_header_and_the_pixels() -> None:
    """Grey is a picture without colour, whatever its mode; sepia is grey with a tint."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS 5D"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:00:00"
    facts = picture_facts(encoded(PICTURE, "JPEG", quality=85, exif=exif), MAX_PIXELS)
    assert (facts.camera, facts.captured, facts.lossless, facts.grey) == (
        "Canon EOS 5D",
        "2024:05:01 10:00:00",
        False,
        False,
    )
    assert abs(facts.jpeg_quality - 85) <= 1
    grey = PICTURE.convert("L")
    sepia = ImageOps.colorize(grey, (40, 20, 0), (255, 235, 205))
    assert [picture_facts(saved(each, 90), MAX_PIXELS).grey for each in (grey, grey.convert("RGB"), sepia)] == [
        True,
        True,
        True,
    ]
    assert picture_facts(encoded(PICTURE, "PNG"), MAX_PIXELS).lossless

from __future__ import annotations

import io

import pytest
from drawn import encoded
from PIL import Image, ImageOps, PngImagePlugin

from shazimd.errors import NotAnImage, TooLarge
from shazimd.imaging.extract import Extractor
from shazimd.imaging.matched import TOLERANCE, matched_points
from shazimd.imaging.rendition import rendition

PIXELS_MAX = 10_000_000


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_rendition_is_a_jpeg_no_larger_than_asked(photo: Image.Image, kind: str) -> None:
    """Every format becomes a JPEG whose longer side is the one asked for; a small picture stays as it is."""
    data = encoded(photo.convert("RGB"), kind)

    small = opened(rendition(data, 200, PIXELS_MAX))
    large = opened(rendition(data, 5000, PIXELS_MAX))

    assert ("JPEG", (200, 150), (400, 300)) == (small.format, small.size, large.size)


def test_a_rendition_is_upright(photo: Image.Image) -> None:
    """A picture that its EXIF turns is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo.convert("RGB"), "JPEG", exif=exif)

    assert (150, 200) == opened(rendition(data, 200, PIXELS_MAX)).size


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_rendition_has_no_comment(photo: Image.Image, kind: str) -> None:
    """A file's comment may be longer than a JPEG's can be."""
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "words " * 20_000)
    options = {"comment": b"words " * 20_000} if kind == "GIF" else {"pnginfo": text}
    data = encoded(photo, kind, **options)

    assert "comment" in opened(data).info
    assert "comment" not in opened(rendition(data, 200, PIXELS_MAX)).info


def test_a_rendition_of_no_picture_is_refused(photo: Image.Image) -> None:
    """Errors are those of decoding."""
    with pytest.raises(NotAnImage):
        rendition(b"no picture", 200, PIXELS_MAX)
    with pytest.raises(TooLarge):
        rendition(encoded(photo, "PNG"), 200, 100_000)


def features(image: Image.Image) -> bytes:
    return Extractor(None, PIXELS_MAX, features=True).query(encoded(image, "PNG")).features


def test_matched_points_lie_at_the_same_place_of_both_pictures(photo: Image.Image) -> None:
    """In a mirrored crop, each pair of points shows the same spot."""
    crop = ImageOps.mirror(photo.crop((100, 50, 400, 300)))

    points = matched_points(features(crop), features(photo))

    assert len(points) >= 10
    misses = [max(abs((1 - bx) * 300 + 100 - ax * 400), abs(by * 250 + 50 - ay * 300)) for ax, ay, bx, by in points]
    assert max(misses) < 2 * TOLERANCE


def test_strangers_have_no_matched_points(photo: Image.Image, stranger: Image.Image) -> None:
    """Without a map there are none, nor without features."""
    assert [] == matched_points(features(photo), features(stranger))
    assert [] == matched_points(b"", features(photo))

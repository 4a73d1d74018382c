"""Other digits in the badge of an app's icon make another picture, however few pixels they have."""

from __future__ import annotations

from itertools import permutations

import pytest
from drawn import encoded
from fingerprints import judged, query_of
from PIL import Image, ImageDraw, ImageFont

from shazimd.imaging.verify import verify
from shazimd.types import Verdict


def icon(digit: str, side: int = 64) -> Image.Image:
    """A line on a tile, and a red badge in its corner."""
    image = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((30, 30, 482, 482), 100, fill=(40, 130, 200))
    draw.line([(130, 360), (230, 230), (300, 300), (400, 150)], "white", 28)
    draw.ellipse((332, 5, 506, 179), fill=(225, 30, 40))
    draw.text((419, 92), digit, "white", ImageFont.load_default(110), anchor="mm")
    return image.resize((side, side), Image.Resampling.LANCZOS)


def test_other_digits_in_a_badge_are_a_variant() -> None:
    """Of nine pixels each."""
    found = {judged(icon(one), icon(other)).verdict for one, other in permutations("123", 2)}
    assert Verdict.COPY not in found


@pytest.mark.parametrize("digit", ["2", "8"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_icon_saved_again_is_a_copy(digit: str, kind: str) -> None:
    """Its digit loses no more than the rest of it."""
    saved, known = query_of(encoded(icon(digit), kind, quality=60)), query_of(encoded(icon(digit), "PNG"))
    assert verify(saved.features, known.fingerprint.features).verdict is Verdict.COPY


def test_an_icon_of_half_the_size_is_a_copy() -> None:
    assert judged(icon("8", 32), icon("8")).verdict is Verdict.COPY

"""Drawings of few colours: other colours are another picture, grey, sepia, faded and brighter ones are copies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from fingerprints import judged
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from benchmarks.quality.edits import sepia
from shazimd.types import Verdict

Colour = tuple[int, int, int]
BLACK, WHITE, BLUE, YELLOW, ORANGE = (20, 20, 20), (255, 255, 255), (0, 56, 147), (255, 205, 0), (255, 130, 0)
LIGHT_BLUE = (108, 190, 235)


def disc(ground: Colour, colour: Colour) -> Image.Image:
    image = Image.new("RGB", (330, 220), ground)
    ImageDraw.Draw(image).ellipse((110, 55, 220, 165), fill=colour)
    return image


def cross(ground: Colour, colour: Colour) -> Image.Image:
    image = Image.new("RGB", (330, 220), ground)
    draw = ImageDraw.Draw(image)
    draw.rectangle((99, 0, 139, 220), fill=colour)
    draw.rectangle((0, 92, 330, 128), fill=colour)
    return image


def verdict(one: Image.Image, other: Image.Image) -> Verdict | None:
    return judged(one, other).verdict


def test_a_disc_on_a_ground_of_another_colour_is_another_picture() -> None:
    """Also where one ground is grey, as in a grey copy, but the disc is vivid, and where one is dark in the other."""
    discs = disc(BLUE, YELLOW), disc(BLACK, ORANGE), disc(BLACK, YELLOW), disc(YELLOW, BLACK)
    assert Verdict.COPY not in {verdict(*pair) for pair in permutations(discs, 2)}


def test_a_cross_of_much_more_contrast_is_another_picture() -> None:
    """Its brightness alone is that of a negative, stretched to twelve times the contrast."""
    crosses = cross(BLACK, WHITE), cross(LIGHT_BLUE, ORANGE)
    assert Verdict.COPY not in {verdict(*pair) for pair in permutations(crosses, 2)}


@pytest.mark.parametrize("draw", [disc, cross])
def test_grey_sepia_and_faded_drawings_are_copies(draw: Callable[[Colour, Colour], Image.Image]) -> None:
    """Whichever is asked."""
    plain = draw(BLUE, YELLOW)
    grey = plain.convert("L").convert("RGB")
    faded = ImageEnhance.Contrast(ImageEnhance.Color(plain).enhance(0.8)).enhance(0.8)
    for edited in (grey, sepia(plain), faded):
        assert {verdict(edited, plain), verdict(plain, edited)} == {Verdict.COPY}


def post(colour: tuple[int, int, int]) -> Image.Image:
    """Lines of words on white beside a disc."""
    image, rng = Image.new("RGB", (600, 420), "white"), np.random.default_rng(7)
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 96, 96), fill=colour)
    for row in range(3):
        text = " ".join(rng.bytes(3).hex() for _ in range(6))
        draw.text((24, 120 + 90 * row), text, "black", ImageFont.load_default(25))
    return image


def test_a_page_made_brighter_until_colours_are_clipped_is_a_copy() -> None:
    """Red that is clipped adds no more light, green and blue do; a disc of another colour is a variant."""
    original = post((240, 180, 60))
    brighter = original.point(lambda level: min(255, round(1.2 * level)))
    assert [judged(brighter, original).verdict, judged(original, brighter).verdict] == [Verdict.COPY] * 2
    other = post((60, 160, 90)).point(lambda level: min(255, round(1.2 * level)))
    assert [judged(other, original).verdict, judged(original, other).verdict] == [Verdict.VARIANT] * 2

"""Plain drawings of two colours: other colours are another picture, grey, sepia and faded ones are copies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from fingerprints import judged
from PIL import Image, ImageDraw, ImageEnhance

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

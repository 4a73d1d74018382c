"""Drawings that differ in one more of the things that they show: no edit adds these."""

from __future__ import annotations

import pytest
from fingerprints import judged
from PIL import Image, ImageDraw

from benchmarks.quality.edits import recompressed, scaled, watermarked
from benchmarks.quality.families import picture
from shazimd.types import Verdict

PLACES = {
    2: [(-1, -1), (1, 1)],
    4: [(-1, -1), (1, -1), (-1, 1), (1, 1)],
    5: [(-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0)],
}


def domino(upper: int, lower: int) -> Image.Image:
    image = Image.new("RGB", (120, 230), (250, 248, 240))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((3, 3, 116, 226), 12, outline="black", width=4)
    draw.line((10, 115, 110, 115), fill="black", width=3)
    for count, middle in ((upper, 60), (lower, 170)):
        for x, y in PLACES[count]:
            draw.ellipse((50 + 30 * x, middle - 10 + 33 * y, 70 + 30 * x, middle + 10 + 33 * y), fill="black")
    return image


@pytest.mark.parametrize(("one", "other"), [((5, 4), (5, 5)), ((4, 4), (5, 4)), ((4, 2), (5, 4))])
def test_a_domino_with_more_dots_is_no_copy(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Whichever is asked."""
    assert Verdict.COPY not in (
        judged(domino(*one), domino(*other)).verdict,
        judged(domino(*other), domino(*one)).verdict,
    )


def test_an_edited_domino_is_a_copy() -> None:
    """Smaller, coded, or with a mark that it shows nowhere else."""
    plain, marked = domino(5, 4), domino(5, 4)
    ImageDraw.Draw(marked).polygon([(50, 178), (60, 158), (70, 178)], fill="black")
    for edited in (recompressed(plain, 60), scaled(plain, 0.5), marked):
        assert judged(edited, plain).verdict is Verdict.COPY


def test_words_laid_across_a_code_are_no_modules() -> None:
    """Half-transparent letters over black modules look like other modules, and there are many."""
    code = picture("qr codes", 12, 0)
    assert judged(watermarked(code), code).verdict is Verdict.COPY

"""Short words over one photograph: other ones make a variant, an edit of the same picture or an addition a copy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from drawn import encoded, photograph
from fingerprints import judged, query_of
from PIL import Image, ImageDraw, ImageFont

from benchmarks.quality.edits import EDITS, recompressed, stamped, stickered
from benchmarks.quality.families import TEN_EDITS, picture
from shazimd.imaging.verify import verify_all
from shazimd.types import Verdict

Fill = str | tuple[int, int, int]
APPLY = {edit.name: edit.apply for edit in [*EDITS, *TEN_EDITS]}


def written(
    text: str, size: int, fill: Fill = "white", at: tuple[float, float] = (0.1, 0.85), image: Image.Image | None = None
) -> Image.Image:
    """Words over a photograph, outlined in black where they are white; places are shares of its sides."""
    out = (image or photograph(seed=3)).copy()
    place = round(at[0] * out.width), round(at[1] * out.height)
    outline = 2 if fill == "white" else 0
    font = ImageFont.load_default(size)
    ImageDraw.Draw(out).text(place, text, fill, font, stroke_width=outline, stroke_fill="black")
    return out


def both_ways(one: Image.Image, other: Image.Image) -> list[Verdict | None]:
    return [judged(one, other).verdict, judged(other, one).verdict]


@pytest.mark.parametrize("fill", ["white", "black", (255, 225, 0)])
@pytest.mark.parametrize("size", [40, 28])
@pytest.mark.parametrize("pair", [("TREE", "CAKE"), ("new", "sale"), ("4711", "0815")])
def test_other_short_words_at_one_place_are_a_variant(pair: tuple[str, str], size: int, fill: Fill) -> None:
    """Whichever is asked, and also where the one was saved with loss."""
    one, other = (written(text, size, fill) for text in pair)
    assert both_ways(one, other) == [Verdict.VARIANT] * 2
    assert both_ways(recompressed(one, 80), other) == [Verdict.VARIANT] * 2


def test_the_region_is_the_place_of_the_words() -> None:
    differs = judged(written("TREE", 28), written("CAKE", 28)).differs
    assert differs is not None
    for (left, top, right, bottom), _ in differs.regions:
        assert 0.08 < left < right < 0.35
        assert 0.83 < top < bottom < 0.98


@pytest.mark.parametrize("size", [24, 18])
def test_another_date_burned_in_by_a_camera_is_a_variant(size: int) -> None:
    dates = [written(date, size, (255, 150, 40), (0.6, 0.9)) for date in ("2019:04:12", "2021:11:03")]
    assert both_ways(*dates) == [Verdict.VARIANT] * 2


@pytest.mark.parametrize(
    ("family", "seed"),
    [*product(["short captions"], (14, 16, 18)), *product(["dated photographs"], (13, 14, 19)), ("memes", 20)],
)
def test_no_picture_of_a_family_is_a_copy_of_another(family: str, seed: int) -> None:
    """One photograph with six words of a few letters, six dates, or two lines each of large letters. Of other seeds
    some dates are, in a colour of the ground."""
    pictures = [picture(family, seed, number) for number in range(6)]
    asked = [query_of(encoded(each, "PNG")) for each in pictures]
    stored = [each.fingerprint.features for each in asked]
    for number, each in enumerate(asked):
        others = verify_all(each.features, stored[:number] + stored[number + 1 :])
        assert Verdict.COPY not in [found.verdict for found in others]


def logo(image: Image.Image) -> Image.Image:
    return stamped(image, 0.15, np.random.default_rng(1))


def sticker(image: Image.Image) -> Image.Image:
    return stickered(image, 1, np.random.default_rng(1))


def second_word(image: Image.Image) -> Image.Image:
    return written("boat", 28, "black", (0.5, 0.4), image)


def first_word(image: Image.Image) -> Image.Image:
    return written("TAXI", 28, "white", (0.1, 0.1), image)


@pytest.mark.parametrize("addition", [logo, sticker, second_word, first_word])
@pytest.mark.parametrize("text", ["", "TREE"])
def test_what_one_photograph_lacks_is_an_addition(addition: Callable[[Image.Image], Image.Image], text: str) -> None:
    """A logo, a sticker or a word, with a word elsewhere in both or without."""
    image = written(text, 28)
    assert both_ways(addition(image), image) == [Verdict.COPY] * 2


@pytest.mark.parametrize(
    "edit",
    ["jpeg-30", "half-size", "sharpened", "blurred", "crop-90", "brighter", "grey", "stretched", "screenshot", "logo"],
)
@pytest.mark.parametrize("size", [40, 20])
def test_an_edited_photograph_with_a_word_is_a_copy(edit: str, size: int) -> None:
    """Letters are blurred, moved by less than a pixel or made stronger, and are the same."""
    image = written("TREE", size)
    assert both_ways(APPLY[edit](image, np.random.default_rng(1), image), image) == [Verdict.COPY] * 2

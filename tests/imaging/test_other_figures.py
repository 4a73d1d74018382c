"""Print of which a few figures are other ones: the rest of the page agrees, and is kept at half of its size or less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from drawn import invoice
from fingerprints import judged
from PIL import Image, ImageDraw, ImageFont

from benchmarks.quality.drawing import scenery
from benchmarks.quality.families import TEN_EDITS, TUNED, picture
from shazimd.types import Verdict

EDITS = {edit.name: edit.apply for edit in TEN_EDITS}


def spreadsheet(cells: tuple[str, str]) -> Image.Image:
    """12 rows of 6 cells in a grid; two of them are given, in rows 4 and 6."""
    image, rng = Image.new("RGB", (610, 400), "white"), np.random.default_rng(3)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(18)
    figures = [str(number) for number in rng.integers(1000, 10000, 72)]
    figures[24], figures[37] = cells
    for number, text in enumerate(figures):
        left, top = 20 + 95 * (number % 6), 20 + 30 * (number // 6)
        draw.rectangle((left, top, left + 95, top + 30), outline=(200, 200, 200))
        draw.text((left + 6, top + 4), text, "black", font)
    return image


def a_spreadsheet() -> Image.Image:
    return spreadsheet(("1174", "4417"))


def an_invoice() -> Image.Image:
    return invoice("714.10")


@pytest.mark.parametrize(
    ("drawn", "place"),
    [
        (lambda: (a_spreadsheet(), spreadsheet(("2388", "6850"))), (0.0, 0.3, 0.4, 0.65)),
        (lambda: (an_invoice(), invoice("388.96")), (0.6, 0.7, 0.95, 0.8)),
    ],
    ids=["spreadsheet", "invoice"],
)
def test_other_figures_on_one_page_make_a_variant(
    drawn: Callable[[], tuple[Image.Image, Image.Image]], place: tuple[float, float, float, float]
) -> None:
    """Whichever is asked; the regions are those of the figures."""
    pair = drawn()
    found = [judged(*pair), judged(*reversed(pair))]
    assert [each.verdict for each in found] == [Verdict.VARIANT] * 2
    for each in found:
        assert each.differs is not None
        for (left, top, right, bottom), _ in each.differs.regions:
            assert place[0] < left < right < place[2]
            assert place[1] < top < bottom < place[3]


@pytest.mark.parametrize("drawn", [a_spreadsheet, an_invoice])
@pytest.mark.parametrize("edit", ["jpeg-60", "webp-70", "half-size", "crop-90", "grey", "blurred", "watermark"])
def test_an_edited_page_is_a_copy(drawn: Callable[[], Image.Image], edit: str) -> None:
    """All of its print is blurred, moved or recompressed alike. Whichever is asked."""
    original = drawn()
    edited = EDITS[edit](original, np.random.default_rng(1), original)
    assert [judged(edited, original).verdict, judged(original, edited).verdict] == [Verdict.COPY] * 2


def business_card(name: str, number: str) -> Image.Image:
    """So plain that it has few features, and is compared as a whole, too."""
    image = Image.new("RGB", (700, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 700, 16), fill=(90, 20, 60))
    draw.ellipse((40, 50, 140, 150), fill=(150, 120, 40))
    for at, text, size in (((170, 80), "Tumo Ltd", 36), ((60, 210), name, 32), ((60, 310), number, 20)):
        draw.text(at, text, "black", ImageFont.load_default(size))
    return image


def street_map(pin: tuple[int, int]) -> Image.Image:
    """White streets on pale ground, and a red pin."""
    rng = np.random.default_rng(4)
    ground = Image.fromarray(rng.integers(170, 240, (5, 5, 3), np.uint8))
    image = ground.resize((640, 640), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for ends in rng.uniform(0, 640, (16, 4)).tolist():
        draw.line(ends, fill="white", width=6)
    draw.ellipse((pin[0] - 14, pin[1] - 14, pin[0] + 14, pin[1] + 14), fill=(220, 30, 30), outline="white", width=3)
    return image


def terminal(seed: int) -> Image.Image:
    """Processes and their use of the machine: the numbers of a column follow from the seed."""
    image, rng, numbers = Image.new("RGB", (900, 600)), np.random.default_rng(5), np.random.default_rng(seed)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for row in range(28):
        draw.text((10, 10 + 21 * row), f"{rng.integers(10000, 99999)}  {rng.bytes(5).hex()}", (200, 200, 200), font)
        draw.text(
            (300, 10 + 21 * row), f"{numbers.uniform(0, 99):.1f}   {rng.uniform(0, 9):.2f}", (200, 200, 200), font
        )
    return image


def photo_with_temperatures(*temperatures: int) -> Image.Image:
    """Six numbers all over a picture with the texture of a photograph."""
    image = scenery(np.random.default_rng(5), 500, 400)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(26)
    for number, text in enumerate(temperatures):
        at = 60 + 190 * (number % 3), 80 + 200 * (number // 3)
        draw.text(at, f"{text}°", "white", font, stroke_width=2, stroke_fill="black")
    return image


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: (terminal(1), terminal(2)),
        lambda: (photo_with_temperatures(7, 12, -3, 21, 30, 4), photo_with_temperatures(19, 31, 16, 8, -4, 27)),
        lambda: (picture("weather maps", TUNED, 0), picture("weather maps", TUNED, 1)),
        lambda: (business_card("Farid Gantuko", "+41 83 668 77 16"), business_card("Olga Mitusha", "+41 19 204 53 82")),
        lambda: (street_map((120, 420)), street_map((430, 200))),
    ],
    ids=["terminal", "photograph", "weather map", "business card", "moved pin"],
)
def test_a_few_other_things_on_one_ground_make_a_variant(
    drawn: Callable[[], tuple[Image.Image, Image.Image]],
) -> None:
    """Also where most of the print is other, where few features are found, and where a thing was moved. Edited copies
    stay copies."""
    pair = drawn()
    assert [judged(*pair).verdict, judged(*reversed(pair)).verdict] == [Verdict.VARIANT] * 2
    for name in ("jpeg-60", "half-size", "crop-90", "blurred"):
        edited = EDITS[name](pair[0], np.random.default_rng(1), pair[0])
        assert [judged(edited, each).verdict is Verdict.COPY for each in pair] == [True, False], name


def test_an_invoice_without_its_total_is_a_copy() -> None:
    """Figures that the one lacks are an addition: nothing is replaced."""
    pair = an_invoice(), an_invoice()
    ImageDraw.Draw(pair[1]).rectangle((500, 780, 790, 850), fill="white")
    assert [judged(*pair).verdict, judged(*reversed(pair)).verdict] == [Verdict.COPY] * 2


@pytest.mark.parametrize("family", ["spreadsheets", "timetables"])
@pytest.mark.parametrize(("edit", "is_told_apart"), [("crop-90", True), ("brighter", True), ("screenshot", False)])
def test_an_edited_dense_page_is_a_copy(family: str, edit: str, is_told_apart: bool) -> None:
    """Features are found in twice the pixels, so print of 3 pixels still has some in a screenshot. Brightness leaves no
    lines between the cells, and a dense page all the same. Of another page it is no copy, unless a screenshot makes its
    print too small to tell."""
    original, other = picture(family, TUNED, 0), picture(family, TUNED, 1)
    edited = EDITS[edit](original, np.random.default_rng(1), original)
    assert judged(edited, original).verdict is Verdict.COPY
    assert not is_told_apart or judged(edited, other).verdict is Verdict.VARIANT

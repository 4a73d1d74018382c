"""Candidates that are variants of each other: the query is a copy of the one that it agrees with where they differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from drawn import photograph
from fingerprints import query
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks.quality.edits import recompressed, scaled
from benchmarks.quality.families import picture
from shazimd.imaging.verify import verify_all
from shazimd.types import Verdict

TOTALS = ["714.10", "205.36", "388.96", "952.48"]


def statement(total: str) -> Image.Image:
    """Fourteen bookings and the total, on a tall page."""
    page, rng = Image.new("RGB", (800, 1100), "white"), np.random.default_rng(7)
    draw = ImageDraw.Draw(page)
    draw.text((60, 40), "Harbour Savings Bank", "black", ImageFont.load_default(34))
    for row in range(14):
        words = " ".join(rng.choice(["rent", "salary", "water", "ticket", "market", "insurance"], 3))
        draw.text((60, 150 + 46 * row), words, "black", ImageFont.load_default(19))
        draw.text((640, 150 + 46 * row), f"{rng.integers(100, 999)}.20", "black", ImageFont.load_default(19))
    draw.text((480, 880), f"Balance {total}", "black", ImageFont.load_default(26))
    return page


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("own", range(4))
def test_a_smaller_page_is_a_copy_of_its_original_alone(own: int, mirrored: bool) -> None:
    """The others are variants, and the place in which each differs is told in units of the query as it is."""
    pages = [query(statement(total)).fingerprint.features for total in TOTALS]
    smaller = recompressed(scaled(statement(TOTALS[own]), 0.35), 60)
    asked = query(ImageOps.mirror(smaller) if mirrored else smaller).features
    found = verify_all(asked, pages)
    verdicts = [Verdict.COPY if number == own else Verdict.VARIANT for number in range(4)]
    assert [each.verdict for each in found] == verdicts
    for number in {0, 1, 2, 3} - {own}:
        differs = found[number].differs
        assert differs is not None
        for (x, top, right, bottom), _ in differs.regions:
            left, right = (1 - right, 1 - x) if mirrored else (x, right)
            assert 480 / 800 < left < right < 680 / 800
            assert 860 / 1100 < top < bottom < 930 / 1100


def test_copies_of_one_photograph_stay_copies() -> None:
    """None of them is a variant of another."""
    original = photograph(seed=3)
    edits = [original, recompressed(original, 40), scaled(original, 0.6), original.convert("L").convert("RGB")]
    found = verify_all(query(recompressed(original, 70)).features, [query(each).fingerprint.features for each in edits])
    assert [each.verdict for each in found] == [Verdict.COPY] * 4


@pytest.mark.parametrize(
    ("family", "seed", "numbers", "edit"),
    [
        ("emoji", 13, (2, 3), lambda image: image.point(lambda level: min(255, round(1.2 * level)))),
        ("emoji", 41, (5, 15), lambda image: image.point(lambda level: min(255, round(1.2 * level)))),
        ("emoji", 13, (3, 2), lambda image: recompressed(scaled(image, 0.5), 75)),
        ("flags", 12, (6, 11), lambda image: image.convert("L").convert("RGB")),
    ],
)
def test_a_picture_without_features_is_a_copy_of_its_original_alone(
    family: str, seed: int, numbers: tuple[int, int], edit: Callable[[Image.Image], Image.Image]
) -> None:
    """Each of two faces or flags passes for its original; the pixels in which these differ tell."""
    own, other = (picture(family, seed, number) for number in numbers)
    known = [query(each).fingerprint.features for each in (own, other)]
    asked = query(edit(own)).features
    assert [verify_all(asked, [each])[0].verdict for each in known] == [Verdict.COPY] * 2
    for order in ([0, 1], [1, 0]):
        found = verify_all(asked, [known[number] for number in order])
        assert [found[order.index(number)].verdict for number in (0, 1)] == [Verdict.COPY, Verdict.VARIANT]


POSTED = [
    "tuzel shakotu ririmal mitenke duvi koorfi",
    "vimal riko orantu loressha soor ganri",
    "nofi fiso esrami kegangan ganmi shano",
    "pelanvi esmior motumo zelso zelor ratenlor",
]


def post(counts: str) -> Image.Image:
    """A face, four lines of words, and counts in smaller letters."""
    page = Image.new("RGB", (600, 420), "white")
    draw = ImageDraw.Draw(page)
    draw.ellipse((20, 20, 76, 76), fill=(236, 71, 237))
    draw.text((90, 22), "Hugo Keshavi", "black", ImageFont.load_default(22))
    draw.text((90, 50), "@esmal", (100, 110, 120), ImageFont.load_default(16))
    for row, words in enumerate(POSTED):
        draw.text((24, 110 + 40 * row), words, "black", ImageFont.load_default(25))
    draw.text((24, 370), counts, "black", ImageFont.load_default(17))
    return page


@pytest.mark.parametrize("counts", ["265 Reposts   0640 Likes", "026 Reposts   2520 Likes"])
def test_figures_too_small_to_be_read_decide_nothing(counts: str) -> None:
    """A halved post passes for both, and is nearer to the other one by chance."""
    original = post("929 Reposts   4676 Likes")
    known = [query(each).fingerprint.features for each in (original, post(counts))]
    found = verify_all(query(recompressed(scaled(original, 0.5), 75)).features, known)
    assert found[0].verdict is Verdict.COPY


def test_copies_of_one_icon_stay_copies() -> None:
    """They do not differ but by compression."""
    original = picture("emoji", 13, 2)
    edits = [original, recompressed(original, 60), scaled(original, 0.5)]
    found = verify_all(query(recompressed(original, 80)).features, [query(each).fingerprint.features for each in edits])
    assert [each.verdict for each in found] == [Verdict.COPY] * 3

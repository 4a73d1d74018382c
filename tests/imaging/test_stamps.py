"""A logo that was laid over the print of a page is an edit, and other print is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from drawn import encoded
from PIL import Image, ImageDraw, ImageFont

from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify
from shazimd.types import Verdict

Draw = Callable[[Image.Image], None]
EXTRACTOR = Extractor(None, 200_000_000)
CORNER = (520, 620)


def page() -> Image.Image:
    """A ruled page of text, down to its lower right corner."""
    image = Image.new("RGB", (640, 720), "white")
    draw = ImageDraw.Draw(image)
    for row in range(12):
        numbers = 7919 * (row + 3) % 10007, 6007 * (row + 5) % 997, 104729 * (row + 1) % 99991
        text = "{} of {} boxes are for {}, row {}".format(*numbers, row)
        draw.text((236, 20 + 58 * row), text, "black", ImageFont.load_default(22))
    draw.rectangle((10, 10, 630, 708), outline="black", width=3)
    return image


def logo(image: Image.Image) -> None:
    draw = ImageDraw.Draw(image)
    draw.ellipse((*CORNER, CORNER[0] + 96, CORNER[1] + 96), (170, 40, 60))
    draw.text((CORNER[0] + 28, CORNER[1] + 14), "Q", "white", ImageFont.load_default(60))


def other_print(image: Image.Image) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((CORNER[0] - 60, CORNER[1], CORNER[0] + 104, CORNER[1] + 76), "white")
    draw.text((CORNER[0] - 56, CORNER[1] + 6), "VOID AFTER", "black", ImageFont.load_default(22))
    draw.text((CORNER[0] - 56, CORNER[1] + 40), "31 MARCH", "black", ImageFont.load_default(22))


def emblem(image: Image.Image) -> None:
    """A filled box with figures, where the other page has a filled box with others."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((500, 560, 620, 640), (60, 60, 60))
    draw.text((512, 572), "8051", "white", ImageFont.load_default(46))


def other_emblem(image: Image.Image) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((500, 560, 620, 640), (190, 190, 190))
    draw.text((512, 572), "2649", "black", ImageFont.load_default(46))


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([logo], [], Verdict.COPY),
        ([other_print], [], Verdict.VARIANT),
        ([logo, other_print], [], Verdict.VARIANT),
        ([emblem], [other_emblem], Verdict.VARIANT),
    ],
    ids=["logo", "other print", "both", "two emblems"],
)
def test_a_logo_over_print_leaves_a_copy(ours: Sequence[Draw], theirs: Sequence[Draw], verdict: Verdict) -> None:
    """Whichever is asked; other print in its place, or beside it, makes a variant."""
    pictures = page(), page()
    for picture, laid in zip(pictures, (ours, theirs), strict=True):
        for draw in laid:
            draw(picture)
    asked, known = (EXTRACTOR.query(encoded(picture, "PNG")) for picture in pictures)
    found = [verify(a.features, b.fingerprint.features).verdict for a, b in ((asked, known), (known, asked))]
    assert found == [verdict] * 2

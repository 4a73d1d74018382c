"""Stickers laid over a photograph on flat ground are an edit; things that both pictures have elsewhere are content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from drawn import encoded
from PIL import Image, ImageDraw

from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify
from shazimd.types import Verdict

Draw = Callable[[ImageDraw.ImageDraw], None]
EXTRACTOR = Extractor(None, 200_000_000)
WIDTH, HEIGHT, SIDE = 480, 640, 96


def garment() -> Image.Image:
    """A patterned skirt on light tiles, lit from one side, as a camera sees them."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    floor = 205 + 24 * columns / WIDTH + 10 * rows / HEIGHT
    floor -= 60.0 * ((np.abs((rows + columns) % 190 - 95) < 2) | (np.abs((rows - columns) % 190 - 95) < 2))
    cloth = cv2.resize(
        rng.uniform(20, 190, (80, 60)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    skirt = np.abs(columns - WIDTH / 2) < 70 + 70 * (rows - 160) / 340
    luma = np.where(skirt & (rows > 160) & (rows < 500), cloth, floor)
    noisy = np.clip(luma + rng.normal(0, 1.5, luma.shape), 0, 255)
    return Image.fromarray(np.stack([noisy, noisy * 0.97, noisy * 0.93], axis=2).astype(np.uint8))


def disc(left: int, top: int) -> Draw:
    def draw(on: ImageDraw.ImageDraw) -> None:
        on.ellipse((left, top, left + SIDE, top + SIDE), fill=(255, 205, 50), outline=(90, 60, 0), width=2)
        arc = left + SIDE // 4, top + SIDE // 3, left + SIDE * 3 // 4, top + SIDE * 4 // 5
        on.arc(arc, 20, 160, "black", 3)

    return draw


def bar(colour: str) -> Draw:
    return lambda on: on.rectangle((40, 560, 440, 610), colour)


STICKERS = disc(150, 100), disc(270, 320), disc(20, 480)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (STICKERS, [], Verdict.COPY),
        ([disc(150, 100), disc(205, 120)], [], Verdict.COPY),
        (STICKERS, [disc(30, 30), disc(330, 130), disc(60, 300)], Verdict.VARIANT),
        ([*STICKERS, bar("darkred")], [bar("darkgreen")], Verdict.VARIANT),
    ],
    ids=["stickers", "one over the other", "on both", "beside another bar"],
)
def test_stickers_over_a_photograph_leave_a_copy(
    ours: Sequence[Draw], theirs: Sequence[Draw], verdict: Verdict
) -> None:
    """Whichever is asked; discs elsewhere in the other picture, or a thing in another colour, make a variant."""
    pictures = garment(), garment()
    for picture, laid in zip(pictures, (ours, theirs), strict=True):
        for draw in laid:
            draw(ImageDraw.Draw(picture))
    asked, known = (EXTRACTOR.query(encoded(picture, "PNG")) for picture in pictures)
    found = [verify(a.features, b.fingerprint.features).verdict for a, b in ((asked, known), (known, asked))]
    assert found == [verdict] * 2

"""The means to draw with that the families share: words, names, colours, text, scenery."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Rng = np.random.Generator
Picture = Image.Image
Colour = tuple[int, int, int]

_SYLLABLES = "ba ko ri ten mal so du vi lor an es mi ra tu gan pel sha no ke fi mo zel or ut"
_FIRST = "Anna Boris Clara David Elena Farid Greta Hugo Ines Jakob Karin Liam Mona Nils Olga Pavel Rosa Sven"
SERIES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75))
_MONTHS = "January February March April May June July August September October November December"


def word(rng: Rng) -> str:
    return "".join(rng.choice(_SYLLABLES.split(), int(rng.integers(2, 4))))


def words(rng: Rng, count: int) -> str:
    return " ".join(word(rng) for _ in range(count))


def first_name(rng: Rng) -> str:
    return str(rng.choice(_FIRST.split()))


def name(rng: Rng) -> str:
    return f"{first_name(rng)} {word(rng).title()}"


def month(rng: Rng) -> str:
    return str(rng.choice(_MONTHS.split()))


def digits(rng: Rng, count: int) -> str:
    return "".join(str(digit) for digit in rng.integers(0, 10, count))


def colour(rng: Rng, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, fill: Colour | str = "black"
) -> None:
    draw.text(at, text, fill, ImageFont.load_default(size))


def blank(width: int, height: int, colour: Colour | str = "white") -> tuple[Picture, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def scenery(rng: Rng, width: int, height: int) -> Picture:
    """A picture with texture at every scale, as photographs have: clouds of noise with sharp things in them."""
    layers = np.zeros((height, width, 3), np.float32)
    for level in range(2, 8):
        side = 2**level
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        layers += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 1.6 ** (level - 1)
    layers -= layers.min()
    image = Image.fromarray((layers * (255 / layers.max())).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(12, 30))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.15) * width
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - r, y - r * rng.uniform(0.4, 1), x + r, y + r), fill=colour(rng))
    grain = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32) + rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))

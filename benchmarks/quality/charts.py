"""Pictures of charts and maps: shared axes, land or weather, other values."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality import drawing
from benchmarks.quality.drawing import Picture, Rng


def _axes(base: Rng, title: str) -> tuple[Picture, ImageDraw.ImageDraw]:
    image, draw = drawing.blank(640, 480)
    drawing.text(draw, (220, 12), title, 20)
    for tick in range(6):
        y = 420 - 70 * tick
        draw.line((70, y, 610, y), fill=(220, 220, 220))
        drawing.text(draw, (30, y - 9), str(20 * tick), 15)
        drawing.text(draw, (80 + 95 * tick, 430), drawing.word(base)[:6], 15)
    draw.line((70, 50, 70, 420, 610, 420), fill="black", width=2)
    return image, draw


def bars(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{drawing.words(base, 2).title()} by region")
    colour = drawing.SERIES[int(base.integers(0, 6))]
    for bar in range(8):
        left = 85 + 65 * bar
        draw.rectangle((left, 420 - int(rng.integers(30, 350)), left + 45, 419), fill=colour)
    return image


def lines(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{drawing.words(base, 2).title()} over time")
    for series in range(3):
        values = np.clip(rng.uniform(80, 380) + np.cumsum(rng.normal(0, 14, 60)), 55, 415)
        draw.line(
            [(72 + 9 * step, 470 - float(v)) for step, v in enumerate(values)], fill=drawing.SERIES[series], width=3
        )
    return image


def scatter(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{drawing.words(base, 2).title()} against age")
    for _ in range(90):
        x, y = rng.uniform(85, 600), rng.uniform(60, 410)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=drawing.SERIES[0])
    return image


def pie(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(480, 480)
    drawing.text(draw, (150, 14), f"Share of {drawing.word(base)}", 22)
    start = 0.0
    for part, share in enumerate(rng.dirichlet(np.full(5, 3.0))):
        draw.pieslice((70, 60, 410, 400), start, start + 360 * float(share), fill=drawing.SERIES[part])
        start += 360 * float(share)
    for part in range(5):
        draw.rectangle((30 + 90 * part, 430, 48 + 90 * part, 448), fill=drawing.SERIES[part])
        drawing.text(draw, (54 + 90 * part, 430), drawing.word(base)[:5], 15)
    return image


def route_map(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(640, 640, (242, 239, 233))
    for _ in range(7):
        x, y, r = base.uniform(0, 640), base.uniform(0, 640), base.uniform(30, 110)
        draw.ellipse(
            (x - r, y - r * 0.7, x + r, y + r * 0.7), fill=(200, 230, 190) if base.random() < 0.6 else (170, 211, 223)
        )
    for _ in range(26):
        ends = base.uniform(0, 640, 4)
        draw.line([float(end) for end in ends], fill=(180, 170, 160), width=9)
        draw.line([float(end) for end in ends], fill=(255, 255, 255), width=6)
    for _ in range(14):
        drawing.text(draw, (base.uniform(10, 560), base.uniform(10, 620)), drawing.word(base).title(), 16, (90, 90, 90))
    steps = np.clip(rng.uniform(120, 520, 2) + np.cumsum(rng.normal(0, 55, (9, 2)), axis=0), 20, 620)
    draw.line([(float(x), float(y)) for x, y in steps], fill=(60, 110, 240), width=8)
    x, y = (float(value) for value in steps[-1])
    draw.ellipse((x - 14, y - 14, x + 14, y + 14), fill=(220, 40, 40))
    drawing.text(draw, (20, 600), f"{drawing.digits(rng, 1)}.{drawing.digits(rng, 1)} km", 22)
    return image


def contours(_base: Rng, rng: Rng) -> Picture:
    side = 420
    heights = np.zeros((side, side), np.float32)
    for level in (3, 5, 9):
        coarse = Image.fromarray(rng.uniform(0, 1, (level, level)).astype(np.float32))
        heights += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / level
    bands = np.floor(heights * 26).astype(int)
    edge = (bands[1:, 1:] != bands[:-1, 1:]) | (bands[1:, 1:] != bands[1:, :-1])
    pixels = np.full((side - 1, side - 1, 3), (250, 246, 235), np.uint8)
    pixels[edge] = (150, 100, 60)
    return Image.fromarray(pixels)


def weather_map(base: Rng, rng: Rng) -> Picture:
    """Towns on coloured land with clouds and borders; the temperatures are other ones."""
    image = drawing.scenery(base, 800, 600)
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = base.uniform(40, 740), base.uniform(40, 540)
        drawing.text(draw, (x, y), drawing.word(base).title(), 15)
        drawing.text(draw, (x + 10, y + 16), str(rng.integers(-5, 35)), 22)
    return image

"""Pictures made by procedure: what no folder of photos has. Number and seed decide each picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 192
WORDS = ("river", "stone", "lamp", "paper", "green", "seven", "window", "travel", "north", "music", "garden", "copper")
Rng = np.random.Generator


def draw(number: int, seed: int = 0) -> Image.Image:
    """RGB picture of SIDE x SIDE. Each kind takes its turn, so any range of numbers holds all of them."""
    return KINDS[number % len(KINDS)](np.random.default_rng([seed, number]))


def _colour(rng: Rng) -> tuple[int, int, int]:
    r, g, b = rng.integers(0, 256, 3).tolist()
    return r, g, b


def _box(rng: Rng, least: int, most: int) -> tuple[int, int, int, int]:
    width, height = rng.integers(least, most, 2).tolist()
    left, top = rng.integers(-width // 2, SIDE - width // 2, 2).tolist()
    return left, top, left + width, top + height


def _text(rng: Rng, words: int) -> str:
    return " ".join(rng.choice(WORDS, words))


def _fractal(rng: Rng) -> Image.Image:
    """A Julia set in random colours."""
    y, x = np.mgrid[-1.4 : 1.4 : SIDE * 1j, -1.4 : 1.4 : SIDE * 1j]
    z, angle = (x + 1j * y) * rng.uniform(0.4, 1), rng.uniform(0, 2 * np.pi)
    c, steps = rng.uniform(0.7, 0.8) * np.exp(1j * angle), np.zeros(z.shape)
    for _ in range(40):
        z = np.where(abs(z) < 4, z * z + c, z)
        steps += abs(z) < 4
    palette = rng.integers(0, 256, (41, 3))
    return Image.fromarray(palette[steps.astype(int)].astype(np.uint8))


def _leaves(rng: Rng) -> Image.Image:
    """Dead leaves: shapes of a power-law size that hide one another, which has the statistics of photos."""
    image = Image.new("RGB", (SIDE, SIDE), _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(250):
        size = int(4 / rng.uniform(0.03, 1) ** 0.9)
        box = _box(rng, size, size + 6)
        (pen.ellipse if rng.random() < 0.6 else pen.rectangle)(box, fill=_colour(rng))
    return image


def _texture(rng: Rng) -> Image.Image:
    """Noise whose amplitude falls with frequency, with or without a direction."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.hypot(fy * rng.uniform(0.3, 1), fx * rng.uniform(0.3, 1)) + 1 / SIDE
    power = frequency ** -rng.uniform(0.8, 2)
    waves = [np.fft.irfft2(power * np.exp(2j * np.pi * rng.random(frequency.shape)), (SIDE, SIDE)) for _ in range(3)]
    field = np.stack(waves, -1)
    field = (field - field.mean()) / field.std() @ rng.normal(0, 1, (3, 3))
    return Image.fromarray(np.clip(128 + 45 * field, 0, 255).astype(np.uint8))


def _shapes(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 12)):
        points = [tuple(p) for p in rng.integers(0, SIDE, (3 + rng.integers(3), 2)).tolist()]
        pen.polygon(points, fill=_colour(rng), outline=_colour(rng))
    return image


def _chart(rng: Rng) -> Image.Image:
    """A bar chart with axes, a title and labels; charts of one design differ in their values alone."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    count, colour = int(rng.integers(4, 10)), [(60, 100, 180), (200, 80, 60), (60, 150, 90)][rng.integers(3)]
    pen.text((30, 6), _text(rng, 2), fill="black", font=ImageFont.load_default(14))
    pen.line([(24, 26), (24, 170), (186, 170)], fill="black")
    for bar, value in enumerate(rng.uniform(10, 138, count)):
        left = 30 + bar * 156 / count
        pen.rectangle((left, 170 - value, left + 110 / count, 170), fill=colour)
        pen.text((left, 174), str(bar + 1), fill="black")
    return image


def _page(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen, size = ImageDraw.Draw(image), int(rng.integers(7, 14))
    pen.text((10, 8), _text(rng, 3), fill="black", font=ImageFont.load_default(size + 5))
    for top in range(30, SIDE - 10, int(size * 1.4)):
        if rng.random() < 0.9:
            pen.text(
                (10, top), _text(rng, int(rng.integers(3, 9))), fill=(30, 30, 30), font=ImageFont.load_default(size)
            )
    return image


def _form(rng: Rng) -> Image.Image:
    """A form of few designs: the values differ, the lines hardly."""
    design = np.random.default_rng(int(rng.integers(12)))
    image = Image.new("RGB", (SIDE, SIDE), (250, 250, 245))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIDE, 22), fill=_colour(design))
    for top in range(30, 180, int(design.integers(18, 30))):
        pen.text((8, top), _text(design, 1), fill="black")
        pen.rectangle((70, top - 2, 184, top + 13), outline=(120, 120, 120))
        pen.text((74, top), f"{_text(rng, 1)} {rng.integers(10000)}", fill=(20, 20, 120))
    return image


def _screen(rng: Rng) -> Image.Image:
    """A program's window: bars, a list, buttons, a picture."""
    dark = rng.random() < 0.4
    image = Image.new("RGB", (SIDE, SIDE), (32, 33, 36) if dark else (246, 246, 248))
    pen, ink = ImageDraw.Draw(image), "white" if dark else "black"
    pen.rectangle((0, 0, SIDE, 14), fill=_colour(rng))
    pen.rectangle((0, 14, int(rng.integers(20, 60)), SIDE), fill=(60, 62, 66) if dark else (225, 228, 232))
    for top in range(20, 180, int(rng.integers(12, 28))):
        pen.ellipse((64, top, 72, top + 8), fill=_colour(rng))
        pen.text((78, top - 1), _text(rng, 3), fill=ink, font=ImageFont.load_default(8))
    inner = (_leaves if rng.random() < 0.5 else _texture)(rng).resize((70, 50))
    left, top = rng.integers(60, 120, 2).tolist()
    image.paste(inner, (left, top))
    return image


def _scene(rng: Rng) -> Image.Image:
    """Ground, sky and objects with soft shading."""
    sky, ground = np.array(_colour(rng)), np.array(_colour(rng))
    y = np.linspace(0, 1, SIDE)[:, None, None]
    horizon = rng.uniform(0.3, 0.7)
    field = np.where(y < horizon, sky * (1 - 0.5 * y), ground * (0.4 + 0.6 * y)) * np.ones((1, SIDE, 1))
    at_y, at_x = np.mgrid[0:SIDE, 0:SIDE]
    for _ in range(rng.integers(2, 8)):
        (cx, cy), radius, colour = rng.uniform(0, SIDE, 2), rng.uniform(8, 50), np.array(_colour(rng))
        distance = np.hypot(at_x - cx, (at_y - cy) * rng.uniform(0.5, 1.6)) / radius
        light = np.clip(1.2 - np.hypot(at_x - cx + radius / 3, at_y - cy + radius / 3) / (1.5 * radius), 0.2, 1)
        field = np.where((distance < 1)[..., None], light[..., None] * colour, field)
    field += rng.normal(0, 6, field.shape)
    return Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))


KINDS: tuple[Callable[[Rng], Image.Image], ...] = (
    _fractal,
    _leaves,
    _texture,
    _shapes,
    _chart,
    _page,
    _form,
    _screen,
    _scene,
)

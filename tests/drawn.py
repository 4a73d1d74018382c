"""Small pictures for tests, drawn from a seed, and their files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


def picture(width: int = 160, height: int = 120, seed: int = 1) -> Image.Image:
    """An RGB picture as smooth as a photo: neighbours alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def photograph(width: int = 400, height: int = 300, seed: int = 1) -> Image.Image:
    """An RGB picture that is told as a photograph: objects of all sizes, soft edges, texture, light, sensor noise."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for _ in range(300):
        cx, cy, radius = rng.integers(width), rng.integers(height), rng.integers(3, max(width, height) // 10)
        is_disc = rng.random() < 0.5
        around = np.s_[max(cy - radius, 0) : min(cy + radius, height), max(cx - radius, 0) : min(cx + radius, width)]
        y, x = np.ogrid[around]
        reach = (x - cx) ** 2 + (y - cy) ** 2 < radius**2 if is_disc else np.maximum(abs(x - cx), abs(y - cy)) < radius
        pixels[around][reach] = rng.integers(0, 256, 3)
    lit = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    texture = Image.fromarray(rng.integers(0, 256, (height // 4, width // 4), np.uint8)).resize((width, height))
    light = 0.6 + 0.4 * np.arange(width) / width + 0.2 * (np.asarray(texture) / 255 - 0.5)
    shaded = np.asarray(lit) * light[..., np.newaxis] + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(shaded.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """``kind``: Pillow's name of the format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def invoice(total: str, number: str = "") -> Image.Image:
    """Ten items and their total, on a tall page, with its number if given."""
    page, rng = Image.new("RGB", (800, 1100), "white"), np.random.default_rng(4)
    draw = ImageDraw.Draw(page)
    draw.text((60, 50), "Miller & Sons Ltd", "black", ImageFont.load_default(36))
    if number:
        draw.text((560, 110), f"No. {number}", "black", ImageFont.load_default(20))
    for row in range(10):
        words = " ".join(rng.choice(["bolt", "hinge", "bracket", "screw", "washer", "clamp", "hook"], 3))
        draw.text((60, 220 + 50 * row), words, "black", ImageFont.load_default(20))
        draw.text((620, 220 + 50 * row), f"{rng.integers(10, 99)}.50", "black", ImageFont.load_default(20))
    draw.text((520, 800), f"Total {total}", "black", ImageFont.load_default(28))
    return page

"""Landscapes drawn from a seed, and edited copies of them: pictures of our own, for tests and for the documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

SIZE = (1200, 800)
SKIES = [
    ((255, 176, 124), (92, 107, 192)),
    ((190, 222, 240), (70, 130, 190)),
    ((250, 214, 165), (230, 120, 110)),
    ((40, 52, 92), (12, 16, 40)),
    ((222, 235, 228), (120, 170, 170)),
]
"""Colours at the horizon and at the zenith."""


def landscape(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Hills, trees, a sun and a cloudy sky."""
    rng = np.random.default_rng(seed)
    width, height = size
    low, high = (np.array(colour, float) for colour in SKIES[seed % len(SKIES)])
    up = np.linspace(1, 0, height)[:, None, None]
    sky = low + (high - low) * up + _clouds(rng, size)[..., None] * 11
    image = Image.fromarray(np.broadcast_to(sky, (height, width, 3)).clip(0, 255).astype(np.uint8))
    _sun(image, rng, low)
    for layer in range(5):
        _hills(image, rng, layer, low)
    grain = rng.normal(0, 3, (height, width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    coarse = Image.fromarray(rng.normal(0, 1, (9, 14)).astype(np.float32), "F")
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def _sun(image: Image.Image, rng: np.random.Generator, low: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    width, height = image.size
    x, y, r = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.4) * height, rng.uniform(0.03, 0.07) * width
    glow = Image.new("L", image.size, 0)
    ImageDraw.Draw(glow).ellipse((x - 2 * r, y - 2 * r, x + 2 * r, y + 2 * r), fill=110)
    glow = glow.filter(ImageFilter.GaussianBlur(r))
    ImageDraw.Draw(glow).ellipse((x - r, y - r, x + r, y + r), fill=235)
    light = tuple(int(v) for v in (low + 255) / 2)
    image.paste(light, (0, 0), glow)


def _hills(
    image: Image.Image, rng: np.random.Generator, layer: int, low: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    width, height = image.size
    near = layer / 4
    base = height * (0.45 + 0.12 * layer)
    x = np.arange(width)
    waves: Any = sum(rng.uniform(8, 46) * np.sin(x / width * f * 6.28 + rng.uniform(0, 6)) for f in (1, 2.3, 4.1, 9.7))
    ridge = base + waves * (1 - near / 2)
    green = np.array([24, 52, 44]) + rng.uniform(-12, 22, 3)
    colour = tuple(int(v) for v in (1 - near) * (0.65 * low + 0.35 * green) + near * green)
    pen = ImageDraw.Draw(image)
    pen.polygon([(0, height), *zip(x.tolist(), ridge.tolist(), strict=True), (width, height)], fill=colour)
    for _ in range(18 + 26 * layer):
        place = int(rng.integers(0, width))
        tall = rng.uniform(10, 26) * (0.5 + 1.6 * near)
        shade = tuple(int(np.clip(v + rng.uniform(-26, 20), 0, 255)) for v in colour)
        foot = ridge[place] + rng.uniform(0, 40) * near + 3
        pen.polygon([(place - tall / 3, foot), (place, foot - tall), (place + tall / 3, foot)], fill=shade)


Edit = Callable[[Image.Image], Image.Image]

EDITS: dict[str, Edit] = {
    "small": lambda im: im.resize((im.width // 2, im.height // 2), Image.Resampling.LANCZOS),
    "cropped": lambda im: im.crop((int(im.width * 0.22), int(im.height * 0.12), im.width, int(im.height * 0.86))),
    "mirrored": ImageOps.mirror,
    "turned": lambda im: im.transpose(Image.Transpose.ROTATE_90),
    "framed": lambda im: ImageOps.expand(im, im.width // 14, "white"),
    "grey": lambda im: im.convert("L"),
}


def write_album(folder: Path, scenes: int, exact: bool = True) -> None:
    """Originals in ``camera/``, edits and identical copies beside them in ``shared/`` and ``backup/``."""
    for name in ("camera", "shared", "backup"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = list(EDITS)
    for n in range(scenes):
        original = folder / "camera" / f"IMG_{2100 + 7 * n}.jpg"
        image = landscape(n)
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Fuji", "X-T5"
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:{n % 28 + 1:02} 12:{n % 60:02}:00"
        image.save(original, quality=92, exif=exif)
        for edit in names[n % len(names) : n % len(names) + 1 + n % 3]:
            EDITS[edit](image).save(folder / "shared" / f"{original.stem}_{edit}.jpg", quality=80)
        if exact and n % 4 == 0:
            (folder / "backup" / original.name).write_bytes(original.read_bytes())

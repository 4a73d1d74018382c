"""Small pictures for tests, drawn from a seed, and their files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 160, height: int = 120, seed: int = 1) -> Image.Image:
    """An RGB picture as smooth as a photo: neighbours alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's name
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()

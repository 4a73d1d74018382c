from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A picture with structure at every scale: random discs and boxes, drawn the same each time."""
    return draw(0)


@pytest.fixture(scope="session")
def stranger() -> Image.Image:
    return draw(1)


@pytest.fixture(scope="session")
def groceries(shared: Path) -> Path:
    return shared / "data" / "photos" / "grocery"


def draw(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:300, 0:400]
    pixels = np.full((300, 400), 128.0)
    for _ in range(300):
        cx, cy, radius, tone = rng.integers(400), rng.integers(300), rng.integers(3, 40), rng.integers(256)
        inside = (
            (x - cx) ** 2 + (y - cy) ** 2 < radius**2
            if rng.random() < 0.5
            else np.maximum(abs(x - cx), abs(y - cy)) < radius
        )
        pixels[inside] = tone
    return Image.fromarray(pixels.astype(np.uint8))

"""The photos of the benchmark, and which of them thresholds may be tuned on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

SPLIT_SEED = 7


def shared_folder() -> Path:
    """The folder of real photos: $SHAZIMD_SHARED, else ../shared beside the checkout. Raises FileNotFoundError."""
    folder = Path(os.environ.get("SHAZIMD_SHARED") or Path(__file__).resolve().parents[3] / "shared")
    if not (folder / "data" / "photos").is_dir():
        raise FileNotFoundError(f"real photos are needed: {folder} is absent (set SHAZIMD_SHARED)")
    return folder


def split(shared: Path) -> tuple[list[Path], list[Path]]:
    """(tuned, untouched): half of each kind of photo, drawn once; vocabulary and thresholds see the first half only."""
    halves: tuple[list[Path], list[Path]] = ([], [])
    rng = np.random.default_rng(SPLIT_SEED)
    for kind in ("clothing", "grocery"):
        photos = sorted((shared / "data" / "photos" / kind).glob("*.jpg"))
        order = rng.permutation(len(photos))
        for half, chosen in zip(halves, np.array_split(order, 2), strict=True):
            half.extend(sorted(photos[number] for number in chosen))
    return halves


def load(path: Path) -> Image.Image:
    """An RGB picture as it is looked at."""
    with Image.open(path) as image:
        return image.convert("RGB")


def luma(image: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.asarray(image.convert("L"))

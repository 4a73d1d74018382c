"""The pictures that training sees, and the part of them held back for validation."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.edits import copy_of
from training.pictures import SIDE, draw

FOLDERS = ("clothing", "grocery", "emoji", "flags", "sprites")
DRAWN = 1800
VALIDATION_EVERY = 20
"""Every 20th picture of each folder, and of the drawn ones, is never trained on: 375 in all."""

Pictures = NDArray[np.uint8]


class Split(NamedTuple):
    """uint8 [n, SIDE, SIDE, 3] each."""

    train: Pictures
    validation: Pictures


def load(folder: Path, most: int | None = None) -> Split:
    """``folder`` holds the sub-folders of ``FOLDERS``; the first ``most`` pictures of each, and of the drawn ones."""
    groups = [sorted((folder / name).glob("*.jpg"))[:most] for name in FOLDERS]
    if missing := [name for name, paths in zip(FOLDERS, groups, strict=True) if not paths]:
        raise SystemExit(f"{folder}: no pictures in {', '.join(missing)}")
    pictures = [[_square(path) for path in paths] for paths in groups]
    pictures.append([np.asarray(draw(number)) for number in range(DRAWN if most is None else most)])
    held = [[p for n, p in enumerate(group) if n % VALIDATION_EVERY == 0] for group in pictures]
    kept = [[p for n, p in enumerate(group) if n % VALIDATION_EVERY] for group in pictures]
    return Split(np.stack([*chain(*kept)]), np.stack([*chain(*held)]))


def _square(path: Path) -> Pictures:
    """Squashed, as the product shows pictures to a model."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def copies(pictures: Pictures, side: int, each: int, seed: int) -> Pictures:
    """``each`` edited copies of every picture, in order: [each * n, side, side, 3]."""
    made = []
    for turn in range(each):
        for number, picture in enumerate(pictures):
            rng = np.random.default_rng([seed, turn, number])
            other = pictures[(number + 1 + rng.integers(len(pictures) - 1)) % len(pictures)]
            made.append(view(picture, other, side, rng))
    return np.stack(made)


def view(picture: Pictures, other: Pictures, side: int, rng: np.random.Generator) -> Pictures:
    return shown(copy_of(Image.fromarray(picture), Image.fromarray(other), rng), side)


def shown(image: Image.Image, side: int) -> Pictures:
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))  # PyTorch may write to it


def resized(pictures: Pictures, side: int) -> Pictures:
    return np.stack([shown(Image.fromarray(picture), side) for picture in pictures])

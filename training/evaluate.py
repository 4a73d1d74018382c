"""Compares vectors on the quality benchmark's photos: ``python -m training.evaluate MODEL...``.

Each MODEL is a flatbuffer; the two hashes together are always measured. 40 photos of the half, edited in 46 ways, are
asked among 1,300 photos; so are 10 photos that are not known, in as many ways. Plain cosine: no hashes, no geometry.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.quality.edits import EDITS
from benchmarks.quality.photos import load, shared_folder, split
from shazimd.imaging.hashes import average_hash, difference_hash
from shazimd.models.model import EmbeddingModel, describe
from training.grades import grades

Vector = NDArray[np.float32]
PHOTOS, STRANGERS, HELD_OUT = 40, 10, 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--part", choices=("tuned", "untouched"), default="untouched")
    parser.add_argument("--keep", metavar="FILE", help="write the cosines of each model to this .npz file")
    parser.add_argument("--misses", metavar="FILE", help="draw the last model's ten worst misses")
    options = parser.parse_args()
    known, asked, truth = pictures(options.part)
    kept: dict[str, NDArray[Any]] = {"truth": truth}
    for name, embed in [("ah+dh", hashes), *((path, embedder(path)) for path in options.models)]:
        cosines = np.stack([embed(image) for image in asked]) @ np.stack([embed(load(path)) for path in known]).T
        print(name, json.dumps(grades(cosines, truth)), flush=True)
        kept[name] = cosines.astype(np.float32)
    if options.misses:
        _draw_misses(kept[options.models[-1]], truth, known, asked).save(options.misses, quality=80)
    if options.keep:
        np.savez(options.keep, allow_pickle=False, **kept)


def pictures(part: str) -> tuple[list[Path], list[Image.Image], NDArray[np.intp]]:
    """Paths of the known photos, edited copies, and for each the row of its original, -1 for a stranger's."""
    tuned, untouched = split(shared_folder())
    mine, others = (untouched, tuned) if part == "untouched" else (tuned, untouched)
    rng = np.random.default_rng(0)
    held = set(rng.permutation(len(others))[:HELD_OUT].tolist())
    known = mine + [photo for number, photo in enumerate(others) if number not in held]
    strangers = [others[number] for number in sorted(held)]
    half = len(mine) // 2
    sources = [int(n) for start in (0, half) for n in start + rng.permutation(half)[: PHOTOS // 2]]
    asked, truth = [], []
    for number, source in enumerate([*sources, *[-1] * STRANGERS]):
        photo = load(known[source] if source >= 0 else strangers[number])
        for place, edit in enumerate(EDITS):
            chance = np.random.default_rng([number, place])
            asked.append(edit.apply(photo, chance, load(strangers[-1 - number % 20])))
            truth.append(source)
    return known, asked, np.array(truth)


def _draw_misses(
    cosines: Vector, truth: NDArray[np.intp], known: list[Path], asked: list[Image.Image], side: int = 120
) -> Image.Image:
    """Ten copies, each above its original and the picture that was nearer; at most two of an edit, worst first."""
    rows = np.flatnonzero(truth >= 0)
    false = cosines[rows].copy()
    own = false[np.arange(len(rows)), truth[rows]]
    false[np.arange(len(rows)), truth[rows]] = -2
    sheet = Image.new("RGB", (10 * side, 3 * side), "white")
    shown: Counter[int] = Counter()
    for at in np.argsort(own - false.max(1)):
        edit = int(rows[at]) % len(EDITS)
        if shown.total() == 10 or shown[edit] == 2:
            continue
        triple = asked[rows[at]], load(known[truth[rows[at]]]), load(known[int(false[at].argmax())])
        for line, image in enumerate(triple):
            sheet.paste(ImageOps.pad(image, (side - 4, side - 4), color="white"), (shown.total() * side, line * side))
        shown[edit] += 1
        print("miss:", EDITS[edit].name, f"own {own[at]:.3f}, nearer {false[at].max():.3f}")
    return sheet


def hashes(image: Image.Image) -> Vector:
    luma = image.convert("L")
    bits = [np.unpackbits(np.array([h(luma)], ">u8").view(np.uint8)) for h in (average_hash, difference_hash)]
    return (2 * np.concatenate(bits).astype(np.float32) - 1) / np.float32(128**0.5)


def embedder(path: str) -> Callable[[Image.Image], Vector]:
    model = EmbeddingModel(describe(path, path))
    size = model.info.input_width, model.info.input_height

    def embed(image: Image.Image) -> Vector:
        shown = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        vector: Vector = model.embed(np.asarray(shown)[np.newaxis])[0]
        return vector

    return embed


if __name__ == "__main__":
    main()

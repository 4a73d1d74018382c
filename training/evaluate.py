"""Compares vectors on the quality benchmark's photos: ``python -m training.evaluate MODEL...`` prints the card's table.

Each MODEL is a flatbuffer or a handle, such as ``bundled`` or a SavedModel's directory (this needs the extra ``hub``);
the two hashes together are always measured. 40 photos of a half, edited in 46 ways, are asked among 1,300 photos; so
are 10 photos that are not known, in as many ways. Plain cosine: no hashes, no geometry.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.quality.edits import EDITS
from benchmarks.quality.photos import load, shared_folder, split
from benchmarks.quality.product import installed
from shazimd.imaging.hashes import oriented_hashes
from shazimd.models.model import EmbeddingModel, describe
from training.grades import grades

Vector = NDArray[np.float32]
HASHES = "ah + dh"
PARTS = ("tuned", "untouched")
PHOTOS, HELD_OUT = 40, 100
MEASURES = ("recall@20", "uAP", "no false")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--part", choices=PARTS, action="append", help="of the photos; default: both")
    parser.add_argument("--keep", metavar="FILE", help="write the cosines of each model on each part to this .npz file")
    parser.add_argument("--misses", metavar="FILE", help="draw the last model's ten worst misses of the last part")
    options = parser.parse_args()
    print(table(options.models, options.part or PARTS, PHOTOS // 2, options.keep, options.misses))


def table(
    models: Sequence[str], parts: Sequence[str], photos: int, keep: str | None = None, misses: str | None = None
) -> str:
    """The card's table in Markdown, of copies of ``photos`` photos of each kind.

    ``keep``: a file for all cosines; ``misses``: one for the last model's worst misses of the last part."""
    rows: dict[str, list[str]] = {name: [] for name in (HASHES, *models)}
    kept: dict[str, NDArray[Any]] = {}
    for part in parts:
        known, asked, truth = pictures(part, photos)
        kept[f"{part} truth"] = truth
        for name in rows:
            embed = hashes if name == HASHES else embedder(name)
            cosines = np.stack([embed(image) for image in asked]) @ np.stack([embed(load(path)) for path in known]).T
            found = grades(cosines, truth)
            rows[name].append(" / ".join(f"{found[measure]:.3f}" for measure in MEASURES))
            print(f"{part} {name} {json.dumps(found)}", file=sys.stderr, flush=True)
            kept[f"{part} {name}"] = cosines.astype(np.float32)
    if misses:
        _draw_misses(kept[f"{parts[-1]} {models[-1]}"], truth, known, asked).save(misses, quality=80)
    if keep:
        np.savez(keep, allow_pickle=False, **kept)
    heads = ["vector", *(f"{part}: {' / '.join(MEASURES)}" for part in parts)]
    lines = [heads, ["---"] * len(heads), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def pictures(part: str, photos: int) -> tuple[list[Path], list[Image.Image], NDArray[np.intp]]:
    """Paths of the known photos, edited copies, and for each the row of its original, -1 for a stranger's."""
    tuned, untouched = split(shared_folder())
    mine, others = (untouched, tuned) if part == "untouched" else (tuned, untouched)
    rng = np.random.default_rng(0)
    held = set(rng.permutation(len(others))[:HELD_OUT].tolist())
    known = mine + [photo for number, photo in enumerate(others) if number not in held]
    strangers = [others[number] for number in sorted(held)]
    half = len(mine) // 2
    sources = [int(n) for start in (0, half) for n in start + rng.permutation(half)[:photos]]
    asked, truth = [], []
    for number, source in enumerate([*sources, *[-1] * (photos // 2)]):
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
    bits = np.unpackbits(np.array(oriented_hashes(image.convert("L"))[0], ">u8").view(np.uint8))
    return (2 * bits.astype(np.float32) - 1) / np.float32(128**0.5)


def embedder(name: str) -> Callable[[Image.Image], Vector]:
    """Of a flatbuffer's path, or of a handle."""
    model = EmbeddingModel(describe(name, name) if name.endswith(".tflite") else installed(name))
    size = model.info.input_width, model.info.input_height

    def embed(image: Image.Image) -> Vector:
        shown = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        vector: Vector = model.embed(np.asarray(shown)[np.newaxis])[0]
        return vector

    return embed


if __name__ == "__main__":
    main()

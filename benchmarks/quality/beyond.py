"""How well does it tell copies where a template is shared? One command prints the table beyond photographs.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.quality.beyond [--part untouched|tuned] [--pictures 20] [--edited 5]

Each family's pictures are all different. Each is asked among all others of its family, which is stricter than a search
that proposes only some of them: a ``copy`` among the answers is false, and is an alert with default settings. Then ten
edits of some pictures are asked among the family.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from benchmarks.quality.families import FAMILIES, TEN_EDITS, TUNED, UNTOUCHED, picture
from benchmarks.quality.photos import shared_folder
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.types import Verdict

MAX_PIXELS = 200_000_000
REAL = ("emoji", "flags", "sprites", "clothing", "grocery")
"""Real pictures for training, if present; sprites and groceries hold frames of bursts."""


class Row(NamedTuple):
    family: str
    pictures: int
    false: int
    """pictures that have a false copy among the others"""
    variants: int
    told: int
    """edited copies told as copies"""
    edited: int
    beside: int
    """edited copies with a false copy beside"""
    missed: Counter[str]


def main() -> None:
    cv2.setNumThreads(1)  # as workers do
    options = _options()
    seed = UNTOUCHED if options.part == "untouched" else TUNED
    print(f"# {options.part} seed: {options.pictures} pictures a family, {options.edited} of them edited in ten ways\n")
    print("| pictures | false copies per 1,000 | with a variant | edited copies told | false beside | missed |")
    print("|---|---|---|---|---|---|")
    for family in FAMILIES:
        drawn = [picture(family, seed, number) for number in range(options.pictures)]
        _print(_row(family, drawn, options.edited))
    for kind, paths in _real(options.part, options.pictures).items():
        _print(_row(f"real {kind}", [_opened(path) for path in paths], options.edited))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["untouched", "tuned"], default="untouched")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--edited", type=int, default=5)
    return parser.parse_args()


def _row(family: str, pictures: list[Image.Image], edited: int) -> Row:
    extractor = Extractor(None, MAX_PIXELS)
    known = [extractor.query(_encoded(image)) for image in pictures]
    stored = [query.fingerprint.features for query in known]
    false = variants = 0
    for number, query in enumerate(known):
        verdicts = [found.verdict for found in verify_all(query.features, stored[:number] + stored[number + 1 :])]
        false += Verdict.COPY in verdicts
        variants += Verdict.VARIANT in verdicts
    told, beside, missed = 0, 0, Counter[str]()
    for number, image in enumerate(pictures[:edited]):
        for place, edit in enumerate(TEN_EDITS):
            copy = edit.apply(image, np.random.default_rng([number, place]), image)
            verdicts = [found.verdict for found in verify_all(extractor.query(_encoded(copy)).features, stored)]
            own = verdicts.pop(number)
            told += own is Verdict.COPY
            beside += Verdict.COPY in verdicts
            if own is not Verdict.COPY:
                missed[f"{edit.name} ({own.value if own else 'nothing'})"] += 1
    return Row(
        family, len(pictures), false, variants, told, min(edited, len(pictures)) * len(TEN_EDITS), beside, missed
    )


def _print(row: Row) -> None:
    missed = ", ".join(f"{count} {name}" for name, count in row.missed.most_common(4))
    print(
        f"| {row.family} | {1000 * row.false / row.pictures:.0f} | {1000 * row.variants / row.pictures:.0f} "
        f"| {row.told / row.edited:.2f} | {row.beside} of {row.edited} | {missed} |",
        flush=True,
    )


def _real(part: str, count: int) -> dict[str, list[Path]]:
    """Real pictures of each kind: the tuned half is of even numbers."""
    try:
        training = shared_folder() / "data" / "training"
    except FileNotFoundError:
        return {}
    kinds = {kind: sorted((training / kind).glob("*.jpg"))[part == "untouched" :: 2][:count] for kind in REAL}
    return {kind: paths for kind, paths in kinds.items() if paths}


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


if __name__ == "__main__":
    main()

"""How well does it tell copies where a template is shared? One command prints the table beyond photographs.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.quality.beyond [--part untouched|tuned] [--pictures 20] [--edited 5]

Each family's pictures are all different. They are dropped into a folder that a daemon of its own watches, with default
settings: an alert is false. Each is also verified against all others of its family, which is stricter than a search
that proposes some of them. Then the daemon is asked for ten edits of some pictures.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from benchmarks.quality.families import FAMILIES, TEN_EDITS, TUNED, UNTOUCHED, picture
from benchmarks.quality.photos import load, shared_folder
from benchmarks.running import is_settled, running, wait_until
from shazimd.client import Client
from shazimd.config import WorkersConfig
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.types import Verdict

MAX_PIXELS = WorkersConfig().max_pixels
REAL = ("emoji", "flags", "sprites", "clothing", "grocery")
"""Real pictures for training, if present; sprites and groceries hold frames of bursts."""
PATIENCE_S = 600.0


class Row(NamedTuple):
    family: str
    pictures: int
    alerts: int
    """pictures that raise an alert"""
    false: int
    """pictures that have a false copy among the others"""
    told: int
    """edited copies of which the first match is their original, as a copy"""
    edited: int
    beside: int
    """edited copies with a false copy among the matches"""
    missed: Counter[str]


def main() -> None:
    options = _options()
    print_table(options.part, "bundled", options.pictures, options.edited)


def print_table(part: str, model: str, pictures: int, edited: int) -> None:
    """Print a row for each family, as soon as it is measured."""
    cv2.setNumThreads(1)  # as workers do
    print(f"# beyond photographs, {part} seed: {pictures} pictures a family, {edited} of them edited in ten ways\n")
    print(
        "| pictures | default alerts per 1,000 | false copies per 1,000 | edited copies told | false beside | missed |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="shazimd-beyond-") as folder:
        root = Path(folder) / "root"
        root.mkdir()
        with running(Path(folder), processes=2, model=model) as (_, client):
            for family, images in _families(part, pictures):
                _print(_row(client, root, family, images, edited))


def _families(part: str, pictures: int) -> Iterator[tuple[str, list[Image.Image]]]:
    seed = UNTOUCHED if part == "untouched" else TUNED
    for family in FAMILIES:
        yield family, [picture(family, seed, number) for number in range(pictures)]
    for kind, paths in _real(part, pictures).items():
        yield f"real {kind}", [load(path) for path in paths]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["untouched", "tuned"], default="untouched")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--edited", type=int, default=5)
    return parser.parse_args()


def _row(client: Client, root: Path, family: str, pictures: list[Image.Image], edited: int) -> Row:
    names = [f"{family}-{number}.png" for number in range(len(pictures))]
    for name, image in zip(names, pictures, strict=True):
        (root / f".{name}").write_bytes(_encoded(image))
        (root / f".{name}").rename(root / name)
    wait_until(lambda: is_settled(client), PATIENCE_S)
    alerts = {alert["path"] for alert in client.alerts()} & {str(root / name) for name in names}
    told, beside, missed = 0, 0, Counter[str]()
    for number, image in enumerate(pictures[:edited]):
        for place, edit in enumerate(TEN_EDITS):
            copy = edit.apply(image, np.random.default_rng([number, place]), image)
            found = client.find(_encoded(copy))["matches"]
            copies = [Path(match["path"]).name for match in found if match["verdict"] in ("exact", "copy")]
            told += copies[:1] == [names[number]]
            beside += bool(set(copies) - {names[number]})
            if names[number] not in copies[:1]:
                own = next(
                    (match["verdict"] for match in found if Path(match["path"]).name == names[number]), "nothing"
                )
                missed[f"{edit.name} ({own})"] += 1
    asked = min(edited, len(pictures)) * len(TEN_EDITS)
    return Row(family, len(pictures), len(alerts), _false_copies(pictures), told, asked, beside, missed)


def _false_copies(pictures: list[Image.Image]) -> int:
    """How many of these different pictures are verified as a copy of another one."""
    extractor = Extractor(None, MAX_PIXELS)
    asked = [extractor.query(_encoded(image)) for image in pictures]
    stored = [query.fingerprint.features for query in asked]
    return sum(
        any(found.verdict is Verdict.COPY for found in verify_all(query.features, stored[:n] + stored[n + 1 :]))
        for n, query in enumerate(asked)
    )


def _print(row: Row) -> None:
    missed = ", ".join(f"{count} {name}" for name, count in row.missed.most_common(4))
    print(
        f"| {row.family} | {1000 * row.alerts / row.pictures:.0f} | {1000 * row.false / row.pictures:.0f} "
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


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


if __name__ == "__main__":
    main()

"""How often is the original the one to keep? One command, one table:

    python -m benchmarks.quality.original_first [--photos 20] [--half untouched] [--quiet]

Each photo is paired with each of the benchmark's own edits (``edits``), saved as an editor would: JPEG of quality 90
without EXIF, or, for the edits that are a compression, as that file. Pairs that verification calls copies are asked for
the file to keep, as the daemon asks: by signs in the pixels and facts of the headers. Times of the files are equal, and
names are drawn: neither helps. The given groups of ``data/copies`` with a known original follow.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.quality.edits import EDITS, Edit
from benchmarks.quality.photos import load, shared_folder, split
from shazimd.config import WorkersConfig
from shazimd.imaging.decode import decode
from shazimd.imaging.extract import Extractor
from shazimd.imaging.lineage import lineage, picture_facts
from shazimd.imaging.verify import verify
from shazimd.search.keep import KeepFacts, choose, criteria
from shazimd.types import Evidence, Verdict

MAX_PIXELS = WorkersConfig().max_pixels
SAVED_AS = {
    "jpeg-75": ("JPEG", 75),
    "jpeg-30": ("JPEG", 30),
    "jpeg-10": ("JPEG", 10),
    "webp-60": ("WEBP", 60),
    "reposted": ("JPEG", 40),
}
EDITOR = ("JPEG", 90)

ORIGINALS = (
    "mixed_images/ukbench00120.jpg",
    "bridge-mods/aaa-orig.jpg",
    "dih/bridge-1-original.jpg",
    "modes/original.jpg",
)
"""Files of ``data/copies`` whose names tell the original; the others of their folders were made from them."""


class Judge:
    """Asks for the file to keep of a pair."""

    def __init__(self) -> None:
        self._extractor = Extractor(None, MAX_PIXELS)

    def features(self, data: bytes) -> bytes:
        return self._extractor.fingerprint(data).features

    def is_original_kept(self, original: bytes, features: bytes, copy: bytes, rng: np.random.Generator) -> bool | None:
        """None for a pair that is not verified as copies, or has equal pixels: either is the original then."""
        query, pixels = self._extractor.query(copy), self._extractor.fingerprint(original).pixels
        found = verify(query.features, features)
        if found.verdict is not Verdict.COPY or query.fingerprint.pixels == pixels:
            return None
        evidence = Evidence() if found.mapping is None else lineage(copy, original, found.mapping, MAX_PIXELS)
        signs = evidence.asked, evidence.known
        names = [b"/p/a", b"/p/b"] if rng.random() < 0.5 else [b"/p/b", b"/p/a"]
        members = [_facts(copy, names[0], signs[0], signs[1]), _facts(original, names[1], signs[1], signs[0])]
        return choose(members, criteria()).position == 1


def _facts(data: bytes, path: bytes, signs: tuple[str, ...], others: tuple[str, ...]) -> KeepFacts:
    picture, facts = decode(data, side_min=1, max_pixels=MAX_PIXELS), picture_facts(data, MAX_PIXELS)
    return KeepFacts(
        path,
        0,
        picture.width,
        picture.height,
        facts,
        made_from=len(signs),
        proof=", ".join(others),
    )


def saved(edit: Edit, path: Path, other: Path, rng: np.random.Generator) -> bytes:
    fmt, quality = SAVED_AS.get(edit.name, EDITOR)
    picture = (
        load(path) if edit.name in SAVED_AS and edit.name != "reposted" else edit.apply(load(path), rng, load(other))
    )
    buffer = io.BytesIO()
    picture.save(buffer, fmt, quality=quality)
    return buffer.getvalue()


def edited(judge: Judge, photos: list[Path]) -> dict[str, list[bool]]:
    answers: defaultdict[str, list[bool]] = defaultdict(list)
    for number, path in enumerate(photos):
        original = path.read_bytes()
        features = judge.features(original)
        for position, edit in enumerate(EDITS):
            rng = np.random.default_rng([number, position])
            copy = saved(edit, path, photos[number - 1], rng)
            kept = judge.is_original_kept(original, features, copy, rng)
            if kept is not None:
                answers[edit.name].append(kept)
    return answers


def given(judge: Judge, shared: Path) -> list[bool]:
    lines = (line.split("\t") for line in (shared / "data/copies/groups.tsv").read_text().splitlines()[1:])
    groups = {shared / "data" / name: group for group, _, name in lines}
    answers = []
    for original in (path for path in groups if str(path).endswith(ORIGINALS)):
        data = original.read_bytes()
        features = judge.features(data)
        beside = [path for path in groups if path.parent == original.parent and groups[path] == groups[original]]
        for number, path in enumerate(path for path in beside if path != original):
            kept = judge.is_original_kept(data, features, path.read_bytes(), np.random.default_rng(number))
            answers += [] if kept is None else [kept]
            if kept is False:
                print(f"{path.name} is kept in place of {original.name}")
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--half", choices=["tuned", "untouched"], default="untouched")
    options = parser.parse_args()
    shared = shared_folder()
    halves = dict(zip(("tuned", "untouched"), split(shared), strict=True))[options.half]
    chosen = np.random.default_rng(11).permutation(len(halves))[: options.photos]
    judge = Judge()
    answers = edited(judge, [halves[number] for number in chosen])
    for edit in EDITS:
        if kept := answers[edit.name]:
            print(f"{edit.tier:8} {edit.name:18} {np.mean(kept):.2f} of {len(kept)}")
    every = [kept for each in answers.values() for kept in each]
    known = given(judge, shared)
    print(f"edits: the original is first in {np.mean(every):.3f} of {len(every)} pairs ({options.half} photos)")
    print(f"given copies: the original is first in {np.mean(known):.3f} of {len(known)} pairs")


if __name__ == "__main__":
    main()

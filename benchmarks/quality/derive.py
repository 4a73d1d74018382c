"""Where do the borders lie? Derived on the tuned half alone; prints the tables and draws the distributions.

    python -m benchmarks.quality.derive [--photos 16] [--out DIR]

Copies: all edits of ``--photos`` clothing and as many grocery photos, each against its original. Others: every photo
of the half asked among the half, and each copy too, against what shares the most words with it.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.quality.edits import EDITS
from benchmarks.quality.photos import load, luma, shared_folder, split
from shazimd.imaging.agreement import agreement
from shazimd.imaging.features import Features, Shown, extract_features, unpack_features
from shazimd.imaging.kept import ASKED
from shazimd.imaging.maps import best_map, view
from shazimd.imaging.verify import COPY_EVIDENCE_MIN, INLIERS_MIN, copy_evidence
from shazimd.search.query import BY_WORDS
from shazimd.words import index as words
from shazimd.words.index import WordIndex

CANDIDATES = 12


class Pair(NamedTuple):
    names: tuple[str, str]
    is_copy: bool
    inliers: int
    agreed: float | None
    evidence: float | None


def main() -> None:
    options = _options()
    tuned, others = split(shared_folder())
    features = [unpack_features(extract_features(Shown(luma(load(photo))))) for photo in tuned]
    index = WordIndex(tempfile.mkdtemp())
    index.load([])
    index.add([(number + 1, known.words) for number, known in enumerate(features)])
    queries = _queries(tuned, others, options.photos)
    _standing_out(queries[len(tuned) :], index)
    words.STANDS_OUT = -math.inf  # from here on, pairs that are never proposed count, too
    pairs = [pair for number, asked in queries for pair in _pairs(number, asked, features, index, tuned)]
    _inliers(pairs)
    _border(pairs)
    _plot(pairs, os.path.join(options.out, "distributions.png"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--out", default=os.path.dirname(__file__), help="folder for the plot")
    return parser.parse_args()


def _queries(tuned: list[Path], others: list[Path], photos: int) -> list[tuple[int, Features]]:
    rng = np.random.default_rng(1)
    half = len(tuned) // 2
    chosen = [*rng.permutation(half)[:photos], *(half + rng.permutation(half)[:photos])]
    queries = [(number, luma(load(photo))) for number, photo in enumerate(tuned)]
    for number in map(int, chosen):
        background = load(others[number * 17 % len(others)])
        for position, edit in enumerate(EDITS):
            chance = np.random.default_rng([number, position])
            queries.append((number, luma(edit.apply(load(tuned[number]), chance, background))))
    return [(number, unpack_features(extract_features(Shown(picture), ASKED))) for number, picture in queries]


def _standing_out(copies: list[tuple[int, Features]], index: WordIndex) -> None:
    """Whether copies propose their originals, and how many others, with nothing but the bar."""
    words.ALWAYS = 0
    print("| standard deviations, at least | originals proposed | others, mean |\n|---|---|---|")
    for least in (3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0):
        words.STANDS_OUT = least
        found = [(number + 1, index.search(asked.words, BY_WORDS)) for number, asked in copies]
        originals = np.mean([number in contents for number, contents in found])
        others = np.mean([len(set(contents) - {number}) for number, contents in found])
        print(f"| {least} | {originals:.4f} | {others:.2f} |")
    print()


def _pairs(number: int, asked: Features, features: list[Features], index: WordIndex, photos: list[Path]) -> list[Pair]:
    candidates = {number, *(content - 1 for content in index.search(asked.words, CANDIDATES))}
    return [_pair(number, other, asked, features[other], photos) for other in sorted(candidates)]


def _pair(number: int, other: int, asked: Features, known: Features, photos: list[Path]) -> Pair:
    names = photos[min(number, other)].name, photos[max(number, other)].name
    maps = [(each, best_map(view(each), view(known))) for each in (asked, asked.mirrored())]
    way, best = max(maps, key=lambda found: found[1].inliers if found[1] else 0)
    if best is None or best.inliers < INLIERS_MIN:
        return Pair(names, number == other, best.inliers if best else 0, None, None)
    agreed = agreement(way, known, best.affine)
    evidence = None if agreed is None else copy_evidence(agreed, best.inliers, best.miss)
    return Pair(names, number == other, best.inliers, agreed, evidence)


def _inliers(pairs: list[Pair]) -> None:
    strangers = [p for p in pairs if not p.is_copy and "clothing" in p.names[0] + p.names[1]]
    copies = [p for p in pairs if p.is_copy]
    print(f"{len(copies)} copies, {len(strangers)} pairs with a clothing photo in them, which show nothing in common\n")
    print("| inliers, at least | share of copies | strangers |\n|---|---|---|")
    for least in (5, 6, 7, 8, 9, 10, 12, 15):
        share = np.mean([p.inliers >= least for p in copies])
        print(f"| {least} | {share:.4f} | {sum(p.inliers >= least for p in strangers)} |")
    print()


def _border(pairs: list[Pair]) -> None:
    copies = np.array([p.evidence or -1 for p in pairs if p.is_copy])
    scenes = [p for p in pairs if not p.is_copy and p.evidence is not None]
    print("| evidence, at least | share of copies | pairs of photos called copies |\n|---|---|---|")
    for least in (1.0, 1.05, 1.08, 1.1, COPY_EVIDENCE_MIN, 1.15, 1.2):
        called = Counter(p.names for p in scenes if p.evidence is not None and p.evidence >= least)
        print(f"| {least} | {np.mean(copies >= least):.4f} | {len(called)} {list(called) if len(called) < 4 else ''} |")
    print(f"\n{len({p.names for p in scenes})} pairs of photos are related by geometry and are not copies\n")


def _plot(pairs: list[Pair], path: str) -> None:
    figure = Figure(figsize=(9, 4))
    left, right = figure.subplots(1, 2)
    for is_copy, label in ((True, "copies"), (False, "other shots")):
        chosen = [p for p in pairs if p.is_copy == is_copy and p.evidence is not None]
        for axes, values in ((left, [p.agreed for p in chosen]), (right, [p.evidence for p in chosen])):
            axes.hist(values, bins=60, range=(-0.2, 1.3), density=True, alpha=0.6, label=label)
    left.set(xlabel="agreement: median block correlation", ylabel="density")
    right.set(xlabel="evidence: agreement, inliers, misses")
    right.axvline(COPY_EVIDENCE_MIN, color="black", linewidth=1)
    left.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()

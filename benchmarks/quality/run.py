"""How well does it tell copies from everything else? One command prints the tables and draws the plots.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.quality.run --model SAVED_MODEL \\
        [--part untouched|tuned] [--photos 20] [--tier easy|medium|hard] [--out DIR]

Copies are made of ``--photos`` clothing and as many grocery photos of one half, and asked among all photos; a hundred
photos of the other half are held out and their copies asked too: they have no original. See README.md beside this.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quality.baselines import NAMES, Codes
from benchmarks.quality.edits import EDITS, Edit
from benchmarks.quality.measure import average_precision, curve, recall_at
from benchmarks.quality.photos import load, shared_folder, split
from benchmarks.quality.product import Product, installed, rank
from shazimd.errors import BadInput
from shazimd.fingerprint import Query
from shazimd.models.model import ModelInfo
from shazimd.types import Match, Verdict

HELD_OUT = 100
TIERS = ("easy", "medium", "hard")
NO_COPIES = {"similar-other-shot", "different-same-scene", "distinct", "all-distinct"}
UNLIKE = {"distinct", "all-distinct", "tiny4x4"}
"""Kinds of the real groups that say nothing of a copy; 4 x 4 pixels are no picture."""
COPY = (Verdict.EXACT, Verdict.COPY)
PRODUCT = "shazimd: copy"
GROWTH_SAMPLE = 4
"""Every fourth copy is asked again among fewer photos."""


@dataclass(frozen=True)
class Copy:
    source: int | None
    """row of the original among the known, None for a stranger"""
    edit: Edit
    asked: Query
    found: dict[int, Match]


@dataclass(frozen=True)
class Asked:
    """Copies that were asked, and the photos among which they were."""

    product: Product
    known: list[Path]
    grocery: list[int]
    """rows of the known grocery photos of this half"""
    codes: Codes
    copies: list[Copy]
    scores: dict[str, NDArray[np.float32]]


def main() -> None:
    options = _options()
    asked = print_table(options.part, options.model, options.photos, options.tier or TIERS, options.seed, options.out)
    known = asked.known
    _edits(asked.copies, asked.scores)
    _growth(asked.product, asked.copies, asked.scores, len(known))
    _false_copies(asked.copies, known)
    _shelves(asked.product, known, asked.grocery, asked.codes)
    _real(asked.product.model, shared_folder())
    for step, spent in asked.product.spent_ms.items():
        print(f"cost, {step}: {np.median(spent):.1f} ms of CPU time, median; {np.quantile(spent, 0.95):.1f} ms at 95 %")


def print_table(
    part: str, model: str, photos: int, tiers: Sequence[str] = TIERS, seed: int = 0, out: str | None = None
) -> Asked:
    """Print the table of copies told before the first false one; draw its curves into the folder ``out``, if given."""
    tuned, untouched = split(shared_folder())
    mine, others = (untouched, tuned) if part == "untouched" else (tuned, untouched)
    rng = np.random.default_rng(seed)
    held = set(rng.permutation(len(others))[:HELD_OUT].tolist())
    known = mine + [photo for number, photo in enumerate(others) if number not in held]
    strangers = [others[number] for number in sorted(held)]

    product, codes = Product(installed(model)), Codes()
    for row, photo in enumerate(known):
        fingerprint = product.fingerprint(photo.read_bytes())
        product.add(row, fingerprint)
        codes.add(fingerprint, load(photo))

    clothing, grocery = range(len(mine) // 2), range(len(mine) // 2, len(mine))
    sources = [int(n) for kind in (clothing, grocery) for n in rng.permutation(kind)[:photos]]
    edits = [edit for edit in EDITS if edit.tier in tiers]
    copies, asked = [], Codes()
    for number, source in enumerate([*sources, *([None] * (len(sources) // 4))]):
        photo = known[source] if source is not None else strangers[number % HELD_OUT]
        for edit in edits:
            image = edit.apply(
                load(photo), np.random.default_rng([number, EDITS.index(edit)]), load(strangers[-1 - number % 20])
            )
            query = product.ask(_encoded(image))
            asked.add(query.fingerprint, image)
            copies.append(Copy(source, edit, query, product.matches(query)))

    print(
        f"# photographs, {part} half: {len(sources)} photos x {len(edits)} edits among {len(known)} photos, "
        f"and {len(copies) - len(sources) * len(edits)} copies of photos that are not known\n"
    )
    scores = asked.similarities(codes)
    _table(copies, scores, out)
    return Asked(product, known, list(grocery), codes, copies, scores)


def print_missed(copies: list[Copy]) -> None:
    """Print how many copies of each edit are not told, and as what they are, in one line; then how many are false."""
    own = [(copy, _verdict(copy.found, copy.source)) for copy in copies if copy.source is not None]
    missed = Counter(
        f"{copy.edit.name} ({verdict.value if verdict else 'nothing'})" for copy, verdict in own if verdict not in COPY
    )
    false = sum(
        found.verdict in COPY for copy in copies for content, found in copy.found.items() if content != copy.source
    )
    print(f"missed, {missed.total()} of {len(own)}: " + ", ".join(f"{n} {name}" for name, n in missed.most_common()))
    print(f"false copies, of {len(copies)} asked: {false}\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a handle, such as bundled")
    parser.add_argument("--part", choices=["untouched", "tuned"], default="untouched")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--tier", choices=TIERS, action="append", help="of the edits; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=os.path.dirname(__file__), help="folder for the plots")
    return parser.parse_args()


def _encoded(image: Image.Image) -> bytes:
    """As a file: without loss, so that an edit is all that was done."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _truth(copies: list[Copy], known: int) -> NDArray[np.bool_]:
    truth = np.zeros((len(copies), known), bool)
    for row, copy in enumerate(copies):
        if copy.source is not None:
            truth[row, copy.source] = True
    return truth


def _ranks(copies: list[Copy], known: int, verdicts: set[Verdict]) -> NDArray[np.float64]:
    ranks = np.zeros((len(copies), known))
    for row, copy in enumerate(copies):
        for content, found in copy.found.items():
            if found.verdict in verdicts:
                ranks[row, content] = rank(found)
    return ranks


def _table(copies: list[Copy], scores: dict[str, NDArray[np.float32]], out: str | None) -> None:
    known = next(iter(scores.values())).shape[1]
    truth = _truth(copies, known)
    rows: dict[str, NDArray[np.float64]] = {PRODUCT: _ranks(copies, known, set(COPY))}
    rows["shazimd: copy or scene"] = _ranks(copies, known, {*COPY, Verdict.SCENE})
    rows |= {name: scores[name].astype(float) for name in NAMES}
    curves = {}
    print("| scorer | uAP | recall at no false match | at 99.9 % | at 90 % | no false match: easy / medium / hard |")
    print("|---|---|---|---|---|---|")
    for name, values in rows.items():
        proposed = values > 0
        points = curves[name] = curve(values[proposed], truth[proposed], int(truth.sum()))
        tiers = " / ".join(f"{_tier_recall(copies, values, truth, tier):.3f}" for tier in TIERS)
        print(
            f"| {name} | {average_precision(points):.3f} | {recall_at(points, 1):.3f} | {recall_at(points, 0.999):.3f} "
            f"| {recall_at(points, 0.9):.3f} | {tiers} |"
        )
    print()
    if out is not None:
        os.makedirs(out, exist_ok=True)
        _plot(curves, os.path.join(out, "precision_recall.png"))


def _tier_recall(copies: list[Copy], values: NDArray[np.float64], truth: NDArray[np.bool_], tier: str) -> float:
    """The share of a tier's copies that score above the best false match of any tier."""
    false = values[~truth].max(initial=0)
    rows = [row for row, copy in enumerate(copies) if copy.edit.tier == tier and copy.source is not None]
    if not rows:
        return math.nan
    return float(np.mean([values[row, copies[row].source] > false for row in rows]))


def _edits(copies: list[Copy], scores: dict[str, NDArray[np.float32]]) -> None:
    mix = scores["the seed's mix 1:1:2"]
    by_edit: defaultdict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for row, copy in enumerate(copies):
        if copy.source is not None:
            verdict = _verdict(copy.found, copy.source)
            by_edit[copy.edit.name].append(
                (verdict in COPY, verdict is Verdict.SCENE, bool(mix[row, copy.source] >= 0.75))
            )
    print("| edit | copy | scene instead | the seed's mix at .75 |\n|---|---|---|---|")
    for name, outcomes in by_edit.items():
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in np.mean(outcomes, axis=0)) + " |")
    everything = [outcome for outcomes in by_edit.values() for outcome in outcomes]
    print("| all | " + " | ".join(f"{share:.3f}" for share in np.mean(everything, axis=0)) + " |\n")


def _verdict(found: dict[int, Match], number: int) -> Verdict | None:
    return found[number].verdict if number in found else None


def _growth(product: Product, copies: list[Copy], scores: dict[str, NDArray[np.float32]], known: int) -> None:
    mix = scores["the seed's mix 1:1:2"].astype(float)
    truth = _truth(copies, known)
    sample = [copy for copy in copies if copy.source is not None][::GROWTH_SAMPLE]
    print(f"| photos known | shazimd: copy, {len(sample)} of the copies | the seed's mix, recall at no false match |")
    print("|---|---|---|")
    for count in (700, 1000, known):
        among = product.first(count)
        found = [_verdict(among.matches(copy.asked), copy.source or 0) in COPY for copy in sample]
        points = curve(mix[:, :count].ravel(), truth[:, :count].ravel(), int(truth.sum()))
        print(f"| {count} | {np.mean(found):.4f} | {recall_at(points, 1):.3f} |")
    print()


def _false_copies(copies: list[Copy], known: list[Path]) -> None:
    false: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for copy in copies:
        for content, found in copy.found.items():
            if content != copy.source and found.verdict in COPY:
                source = known[copy.source].name if copy.source is not None else "a stranger"
                false[source, known[content].name].append(copy.edit.name)
    print(f"false copies among the edited: {sum(map(len, false.values()))}")
    for (source, other), edits in false.items():
        print(f"  {source} called a copy of {other}: {', '.join(edits)}")
    print()


def _shelves(product: Product, known: list[Path], grocery: list[int], codes: Codes) -> None:
    """Every grocery photo of this half asked as it is: nothing but itself is a copy of it."""
    false: dict[tuple[str, str], Match] = {}
    scenes, pairs = set(), 0
    for row in grocery:
        pairs += len(known) - 1
        for content, found in product.matches(product.ask(known[row].read_bytes())).items():
            pair = (known[min(row, content)].name, known[max(row, content)].name)
            if content != row and found.verdict is Verdict.SCENE:
                scenes.add(pair)
            elif content != row and found.verdict in COPY:
                false[pair] = found
    print(
        f"shelves: {len(grocery)} grocery photos asked among {len(known)}; {len(scenes)} pairs are scenes, "
        f"{len(false)} copies: {1e6 * len(false) / pairs:.1f} per million pairs"
    )
    for (one, other), found in sorted(false.items()):
        print(f"  {one} {other}: {found.verdict.value}, {found.verification}")
    mix = codes.similarities(codes)["the seed's mix 1:1:2"][grocery]
    mix[np.arange(len(grocery)), grocery] = 0
    print(
        f"  the seed's mix calls {int((mix >= 0.75).sum())} of these pairs near-duplicates at .75: "
        f"{1e6 * (mix >= 0.75).sum() / pairs:.0f} per million\n"
    )


def _real(model: ModelInfo | None, shared: Path) -> None:
    """The copies that other projects test with: the first of each group is known, the others are asked."""
    groups: defaultdict[str, list[tuple[str, Path]]] = defaultdict(list)
    with open(shared / "data" / "copies" / "groups.tsv", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            groups[row["group"]].append((row["kind"], shared / "data" / row["path"]))
    outcome: defaultdict[str, list[str]] = defaultdict(list)
    product = Product(model)
    asked = []
    for number, (name, files) in enumerate(sorted(groups.items())):
        kinds = [each for each in files if each[0] not in UNLIKE]
        if len(kinds) > 1:
            product.add(number, product.fingerprint(kinds[0][1].read_bytes()))
            asked += [(number, name, kind, path) for kind, path in kinds[1:]]
    for number, name, kind, path in asked:
        try:
            found = product.matches(product.ask(path.read_bytes()))
        except BadInput as error:
            outcome["not readable"].append(f"{path.name}: {error}")
            continue
        verdict = _verdict(found, number)
        is_copy = verdict in COPY
        if kind in NO_COPIES:
            outcome["another shot, rightly no copy" if not is_copy else "ANOTHER SHOT CALLED A COPY"].append(path.name)
        else:
            outcome["copies found" if is_copy else "copies missed"].append(f"{name}/{path.name} ({kind}): {verdict}")
    for what, names in outcome.items():
        shown = "" if what in ("copies found", "another shot, rightly no copy") else "".join(f"\n  {n}" for n in names)
        print(f"real copies, {what}: {len(names)}{shown}")
    print()


def _plot(curves: dict[str, NDArray[np.float64]], path: str) -> None:
    figure = Figure(figsize=(7, 5))
    axes = figure.subplots()
    for name, points in curves.items():
        axes.step(points[:, 0], points[:, 1], where="post", label=name, linewidth=2 if name == PRODUCT else 1)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()

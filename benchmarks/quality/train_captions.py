"""Train the weights by which other words over one photograph are told from edits: logistic regression on tuned photos.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.quality.train_captions [--seeds 11 12 13 14] [--check 15 17]

Pairs with other words: photos with words or numbers of up to five letters and with dates, in five fonts (DejaVu's four,
where Pillow finds them) and eight inks. Pairs that are copies: the same photos, plain and with a word, and a few drawn
families, in all edits of the benchmark and with a word, date, logo, sticker, box or name added; all asked both ways. A
pair with other words needs them in one plane alone: the one with most evidence counts, in turns with the training
(multiple instances, Dietterich et al., Artificial Intelligence 1997). Prints the weights, and how many are told.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from benchmarks.quality import drawing
from benchmarks.quality.edits import EDITS, Picture, Rng, stamped, stickered
from benchmarks.quality.families import TEN_EDITS, picture
from benchmarks.quality.photos import load, shared_folder, split
from shazimd.imaging import differences
from shazimd.imaging.alignment import Affine, align_fine
from shazimd.imaging.captions import KINDS, Measures, differing_most, planes_of
from shazimd.imaging.extract import Extractor
from shazimd.imaging.features import Features
from shazimd.imaging.verify import verify
from shazimd.types import Verdict

SIZES, DATES, LINES = (40, 28, 20, 14), (14, 18, 24), (36, 44, 52)
"""Pixels of letters; photos have 400 to 500."""
FONTS = "", "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf"
ORANGE, GREEN = (255, 150, 40), (80, 220, 80)
INKS: list[tuple[str | tuple[int, int, int], str | None]] = [
    *(("white", "black"), ("white", None), ("black", None), ("yellow", "black")),
    *((ORANGE, None), ("red", None), (GREEN, None), ("black", "white")),
]
"""Fill and outline."""
FAMILIES = "short captions", "dated photographs", "memes"
BIASES = len(KINDS)
EXTRACTOR = Extractor(None, 10**9)
REGULAR, FREE, ROUNDS, STEPS = 2e-3, 1e-3, 6, 12
FALSE_MAX = 0.003
"""The share of copies whose evidence may be above the border."""


class Pair(NamedTuple):
    kind: str
    planes: NDArray[np.float64]
    """[planes in which a place was found, kinds and measures]: 1 for the kind of words, and logarithms"""


class Asked(NamedTuple):
    query: bytes
    stored: bytes


def asked(image: Picture) -> Asked:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    found = EXTRACTOR.query(out.getvalue())
    return Asked(found.features, found.fingerprint.features)


class Ink(NamedTuple):
    font: str
    number: int

    @classmethod
    def drawn(cls, rng: Rng) -> Ink:
        return cls(str(rng.choice(FONTS)), int(rng.integers(len(INKS))))

    def write(self, image: Picture, text: str, size: int, at: tuple[int, int]) -> Picture:
        out, (fill, outline) = image.copy(), INKS[self.number]
        font = ImageFont.truetype(self.font, size) if self.font else ImageFont.load_default(size)
        width = max(1, size // 14) if outline else 0
        ImageDraw.Draw(out).text(at, text, fill, font, stroke_width=width, stroke_fill=outline)
        return out


def word(rng: Rng) -> str:
    return drawing.digits(rng, 4) if rng.random() < 0.3 else drawing.word(rng).upper()[:5]


def date(rng: Rng, mark: str = ":") -> str:
    return f"{rng.integers(2003, 2024)}{mark}{rng.integers(1, 13):02}{mark}{rng.integers(1, 29):02}"


def place(image: Picture, size: int, letters: int, rng: Rng) -> tuple[int, int]:
    top = int(rng.choice([12, image.height // 2, image.height - size - 16]))
    return int(rng.integers(10, max(11, image.width - letters * size))), top


def with_words(photos: list[Picture], seed: int) -> Iterator[tuple[str, list[Picture]]]:
    """(kind, five pictures of one photo that differ in their words alone)"""
    rng = np.random.default_rng([seed, 77])
    for size in SIZES:
        for photo in photos[:13]:
            ink, at, texts = Ink.drawn(rng), place(photo, size, 6, rng), set[str]()
            while len(texts) < 5:
                texts.add(word(rng))
            yield f"words of {size}", [ink.write(photo, text, size, at) for text in sorted(texts)]
    for photo in photos[:13]:
        ink, size, made = Ink.drawn(rng), int(rng.choice(LINES)), list[Picture]()
        for _ in range(5):
            above = ink.write(photo, drawing.words(rng, 3).upper()[:16], size, (16, 12))
            made.append(ink.write(above, drawing.words(rng, 3).upper()[:16], size, (16, photo.height - size - 20)))
        yield "two lines", made
    for photo in photos[:13]:
        ink, size, mark, texts = Ink.drawn(rng), int(rng.choice(DATES)), str(rng.choice([*":/-."])), set[str]()
        at = max(4, photo.width - 11 * size * 2 // 3), photo.height - size - 12
        while len(texts) < 5:
            texts.add(date(rng, mark))
        yield "dates", [ink.write(photo, text, size, at) for text in sorted(texts)]


def additions(image: Picture, rng: Rng) -> Iterator[tuple[str, Picture]]:
    width, height = image.size
    size = int(rng.choice(SIZES))
    at = int(rng.integers(0, max(1, width - 6 * size))), int(rng.integers(0, max(1, height - size - 8)))
    yield "word", Ink.drawn(rng).write(image, drawing.word(rng).upper()[:7], size, at)
    low = int(rng.integers(0, max(1, width - 200))), int(rng.choice([6, height - 30]))
    yield "date", Ink.drawn(rng).write(image, date(rng), int(rng.choice(DATES)), low)
    yield "logo", stamped(image, 0.15, rng)
    yield "sticker", stickered(image, 1, rng)
    box, (x, y) = image.copy(), (int(rng.integers(0, width - 60)), int(rng.integers(0, height - 30)))
    corners = x, y, x + int(rng.integers(20, 120)), y + int(rng.integers(8, 40))
    ImageDraw.Draw(box).rectangle(corners, fill=tuple(int(level) for level in rng.integers(0, 256, 3)))
    yield "box", box
    yield "name", Ink.drawn(rng).write(image, "Photo by " + drawing.word(rng), 14, (8, height - 24))


def copies(photos: list[Picture], seed: int) -> Iterator[tuple[str, Picture, Picture]]:
    """(kind of edit, picture, its edited copy)"""
    rng = np.random.default_rng([seed, 78])
    for number, photo in enumerate(photos[:16]):
        if number >= 6:
            size, text = int(rng.choice(SIZES)), date(rng) if number >= 13 else word(rng)
            photo = Ink.drawn(rng).write(photo, text, size, place(photo, size, len(text), rng))
        for edit in EDITS:
            yield edit.name, photo, edit.apply(photo, np.random.default_rng([seed, number]), photos[-1])
        for _ in range(2):
            for name, added in additions(photo, rng):
                yield name, photo, added
    for family in FAMILIES:
        for number in range(3):
            one = picture(family, seed, number)
            for edit in TEN_EDITS:
                yield edit.name, one, edit.apply(one, np.random.default_rng([seed, number]), one)


def measured(one: bytes, other: bytes) -> NDArray[np.float64] | None:
    """The measures of the places in which a pair differs most, a row a plane; None unless all else tells a copy."""
    rows: list[list[float]] = []

    def measure(query: Features, match: Features, affine: Affine, _agreed: float) -> None:
        rows.clear()
        for planes, kinds in planes_of(align_fine(query, match, affine)):
            found = differing_most(planes, kinds)
            if found is not None:
                rows.append([*np.eye(BIASES)[KINDS.index(found.kind)], *found.measures.logarithms()])

    with mock.patch.object(differences, "other_words", measure):
        verdict = verify(one, other).verdict
    return np.array(rows).reshape(-1, BIASES + len(Measures._fields)) if verdict is Verdict.COPY else None


def pairs(seed: int) -> tuple[list[Pair], list[Pair]]:
    """(other words, copies)"""
    tuned, _ = split(shared_folder())
    order = np.random.default_rng([seed, 79]).permutation(len(tuned))
    photos = [load(tuned[int(number)]) for number in order[:20]]
    unlike, alike = list[Pair](), list[Pair]()
    for kind, group in with_words(photos, seed):
        made = [asked(image) for image in group]
        for ours in made:
            for theirs in made:
                rows = measured(ours.query, theirs.stored) if ours is not theirs else None
                if rows is not None:
                    unlike.append(Pair(kind, rows))
    for kind, original, edited in copies(photos, seed):
        known, copy = asked(original), asked(edited)
        for ours, theirs in ((copy, known), (known, copy)):
            rows = measured(ours.query, theirs.stored)
            if rows is not None:
                alike.append(Pair(kind, rows))
    return unlike, alike


def trained(unlike: list[Pair], alike: list[Pair]) -> NDArray[np.float64]:
    """Biases of the planes and weights of the measures, such that evidence from 0 on tells other words."""
    against = np.vstack([pair.planes for pair in alike])
    middle, spread = against[:, BIASES:].mean(axis=0), against[:, BIASES:].std(axis=0)

    def scaled(planes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.hstack([planes[:, :BIASES], (planes[:, BIASES:] - middle) / spread])

    there = [scaled(pair.planes) for pair in unlike if len(pair.planes)]
    weights = np.zeros(against.shape[1])
    for _ in range(ROUNDS):
        chosen = np.array([each[int((each @ weights).argmax())] for each in there])
        weights = fitted(chosen, scaled(against), weights)
    weights[BIASES:] /= spread
    weights[:BIASES] -= weights[BIASES:] @ middle
    highest = sorted((_most(pair, weights) for pair in alike), reverse=True)
    weights[:BIASES] -= highest[int(FALSE_MAX * len(alike))]
    return weights


def fitted(those: NDArray[np.float64], others: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression that counts both sets alike, by Newton's method; biases are free, weights are kept small."""
    rows, wanted = np.vstack([those, others]), np.repeat([1.0, 0.0], [len(those), len(others)])
    counts = np.where(wanted, 1 / len(those), 1 / len(others))
    penalty = REGULAR * np.repeat([FREE, 1.0], [BIASES, rows.shape[1] - BIASES])
    weights = start.copy()
    for _ in range(STEPS):
        found = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (counts * (found - wanted)) + penalty * weights
        curve = (rows * (counts * found * (1 - found))[:, np.newaxis]).T @ rows + np.diag(penalty)
        weights = weights - np.linalg.solve(curve, slope)
    return weights


def _most(pair: Pair, weights: NDArray[np.float64]) -> float:
    return float((pair.planes @ weights).max()) if len(pair.planes) else -np.inf


def told(found: list[Pair], weights: NDArray[np.float64]) -> str:
    """Of each kind with any: how many are told as other words."""
    counts = {kind: [0, 0] for kind in sorted({pair.kind for pair in found})}
    for pair in found:
        counts[pair.kind][0] += _most(pair, weights) >= 0
        counts[pair.kind][1] += 1
    return ", ".join(f"{kind} {some} of {number}" for kind, (some, number) in counts.items() if some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[11, 12, 13, 14])
    parser.add_argument("--check", type=int, nargs="*", default=[15, 17])
    given = parser.parse_args()
    unlike, alike = list[Pair](), list[Pair]()
    for seed in given.seeds:
        for all_of_them, some in zip((unlike, alike), pairs(seed), strict=True):
            all_of_them += some
    weights = trained(unlike, alike)
    print("kinds:", *(f"{kind.name} {bias:.2f}" for kind, bias in zip(KINDS, weights, strict=False)))
    print(
        "weights:",
        *(f"{name} {weight:.2f}" for name, weight in zip(Measures._fields, weights[BIASES:], strict=True)),
    )
    print(f"trained on {len(unlike)} and {len(alike)}: other words", told(unlike, weights))
    print("  copies", told(alike, weights))
    for seed in given.check:
        unlike, alike = pairs(seed)
        print(f"seed {seed}, {len(unlike)} and {len(alike)}: other words", told(unlike, weights))
        print("  copies", told(alike, weights))


if __name__ == "__main__":
    main()

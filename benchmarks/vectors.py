"""Signals for benchmarks: real ones of real photos and their edits, and as many more as wanted that are like them.

``real``: each photo, edited in 14 ways (crops, turns, colours, borders, noise, blends and collages with another photo),
goes through the bundled model. The hashes are of the same edit.

``scaled``: from real signals i and one of the 8 nearest to it, j: v = f_i + t (f_j - f_i), t uniform in [-.6, 1],
plus half the step between the pair of another row (a direction in which real features differ); the constant of the
calibration, the last number, stays, and the others get their length again. Stepping outwards too keeps the spread that
averaging alone would lose. Each hash bit is j's with probability |t| / 3, else i's, and up to 6 % of bits are flipped,
so that distances are spread as real ones are. ``benchmarks/index.py`` prints how the scores of both compare.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from shazimd.models.model import EmbeddingModel, bundled


class Set(NamedTuple):
    ah: NDArray[np.uint64]
    dh: NDArray[np.uint64]
    fv: NDArray[np.float16]
    """float16 [n, d], unit length"""


def shared() -> Path:
    return Path(os.environ.get("SHAZIMD_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def real(cache: Path) -> Set:
    """The signals of all photos and their edits, computed once (minutes) and kept in ``cache`` for this model."""
    kept = cache / f"real-{bundled().id}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **_compute()._asdict())
    with np.load(kept) as arrays:
        return Set(arrays["ah"], arrays["dh"], arrays["fv"])


def scaled(base: Set, count: int, seed: int = 0, block: int = 20_000) -> Iterator[Set]:
    """Blocks of signals like those of ``base``, ``count`` in all."""
    random = np.random.default_rng(seed)
    near = neighbours(base.fv)
    for start in range(0, count, block):
        yield _step(base, near, random, min(block, count - start))


def neighbours(fv: NDArray[np.float16], count: int = 8) -> NDArray[np.intp]:
    """The ``count`` nearest other rows of each row: [n, count]."""
    vectors = fv.astype(np.float32)
    near = []
    for start in range(0, len(vectors), 1000):
        cosines = vectors[start : start + 1000] @ vectors.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2
        near.append(np.argpartition(-cosines, count, axis=1)[:, :count])
    return np.concatenate(near)


def _step(base: Set, near: NDArray[np.intp], random: np.random.Generator, count: int) -> Set:
    i, k = random.integers(0, len(base.ah), (2, count))
    j, m = (near[rows, random.integers(0, near.shape[1], count)] for rows in (i, k))
    t: NDArray[np.float32] = random.uniform(-0.6, 1.0, (count, 1)).astype(np.float32)
    f = [base.fv[rows].astype(np.float32) for rows in (i, j, k, m)]
    v = f[0] + t * (f[1] - f[0]) + 0.5 * (f[3] - f[2])
    v[:, -1] = f[0][:, -1]
    v[:, :-1] *= np.sqrt(1 - v[:, -1:] ** 2) / np.linalg.norm(v[:, :-1], axis=1, keepdims=True)
    ah, dh = (_mixed_bits(bits[i], bits[j], np.abs(t) / np.float32(3), random) for bits in (base.ah, base.dh))
    return Set(ah, dh, v.astype(np.float16))


def _mixed_bits(
    a: NDArray[np.uint64], b: NDArray[np.uint64], share: NDArray[np.floating], random: np.random.Generator
) -> NDArray[np.uint64]:
    bits_a, bits_b = (np.unpackbits(x.view(np.uint8).reshape(-1, 8), axis=1) for x in (a, b))
    bits = np.where(random.random(bits_a.shape, np.float32) < share, bits_b, bits_a)
    bits ^= random.random(bits.shape, np.float32) < random.uniform(0, 0.06, (len(a), 1))
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _compute() -> Set:
    model = EmbeddingModel(bundled())
    paths = sorted((shared() / "data" / "photos").rglob("*.jpg"))
    random = np.random.default_rng(1)
    found = []
    for path in paths:
        other = Image.open(paths[random.integers(len(paths))]).convert("RGB")
        for picture in _edits(Image.open(path).convert("RGB"), other, random):
            found.append((_average_hash(picture), _difference_hash(picture), _features(model, picture)))
    ah, dh, fv = zip(*found, strict=True)
    return Set(np.array(ah, np.uint64), np.array(dh, np.uint64), np.array(fv, np.float16))


def _edits(photo: Image.Image, other: Image.Image, random: np.random.Generator) -> Iterator[Image.Image]:
    width, height = photo.size
    square, beside = photo.resize((256, 256)), other.resize((256, 256))
    yield photo
    for share in (0.9, 0.7, 0.5):
        left, top = (random.uniform(0, 1 - share, 2) * (width, height)).astype(int)
        yield photo.crop((left, top, left + int(share * width), top + int(share * height)))
    yield ImageOps.mirror(photo)
    yield photo.rotate(90, expand=True)
    yield photo.rotate(random.uniform(-20, 20))
    yield ImageEnhance.Brightness(photo).enhance(random.uniform(0.5, 1.6))
    yield ImageOps.grayscale(photo).convert("RGB")
    yield ImageOps.expand(photo, border=width // 6, fill=(0, 0, 0))
    yield photo.filter(ImageFilter.GaussianBlur(2))
    yield Image.blend(square, beside, 0.3)
    yield Image.blend(square, beside, 0.5)
    yield Image.fromarray(np.hstack([np.asarray(square), np.asarray(beside)]))


def _features(model: EmbeddingModel, picture: Image.Image) -> NDArray[np.float32]:
    """The vector, of the picture as ``Extractor`` shows it to a model."""
    size = model.info.input_width, model.info.input_height
    view = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    vector: NDArray[np.float32] = model.embed(np.asarray(view)[np.newaxis])[0]
    return vector


def _average_hash(picture: Image.Image) -> int:
    pixels = np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.LANCZOS), float)
    return _number(pixels > pixels.mean())


def _difference_hash(picture: Image.Image) -> int:
    pixels = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.LANCZOS), float)
    return _number(pixels[:, 1:] > pixels[:, :-1])


def _number(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")

"""Extract a fingerprint, or a query, from a file's bytes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.fingerprint import Fingerprint, FloatVector, Query, Signals
from shazimd.imaging.decode import Picture, decode
from shazimd.imaging.features import PRINT_SIDE, SIDE, Shown, extract_both, extract_features, extract_points
from shazimd.imaging.frames import later_frames
from shazimd.imaging.hashes import oriented_hashes

SIDE_MIN = SIDE
"""Pixels: least shorter side of a decoded picture, the size that local features are computed at."""

_FINER_SIDE = 2 * PRINT_SIDE
"""Pixels: as many as a long strip's frame may have."""
TINY_SIDE = 32
"""Pixels: icons, bullets and spacers are smaller, thumbnails are larger."""
RELIEF_MIN = 4.0
"""Grey levels of 256: blank pages, black frames and linear gradients with scanner noise or JPEG artefacts have less
than 1, the flattest of 1,400 photos 10."""
ENTROPY_MIN = 1.5
"""Bits: a picture of two flat tones has about 1, a page with one mark less, the poorest of 1,400 photos 1.7."""


class ModelDescription(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def input_height(self) -> int: ...
    @property
    def input_width(self) -> int: ...


class Embedder(Protocol):
    """Computes feature vectors; see ``models.model.EmbeddingModel``."""

    @property
    def info(self) -> ModelDescription: ...

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB pictures [n, input_height, input_width, 3] -> vectors [n, d] of unit length."""


class Extractor:
    """Fingerprints pictures, with a model's vectors or (model None) without. For one thread at a time."""

    def __init__(self, model: Embedder | None, max_pixels: int, *, features: bool = True) -> None:
        """``features``: compute local features too, most of the cost of a picture."""
        self._model = model
        self._max_pixels = max_pixels
        self._features = features

    def fingerprint(self, data: bytes) -> Fingerprint:
        """The fingerprint of a picture. Raises NotAnImage, TooLarge, MemoryError; see ``decode``."""
        picture = self._decode(data)
        luma = picture.image.convert("L")
        features = b""
        if self._features:
            features = extract_features(self._shown(picture, data))
        return self._fingerprint(picture, luma, features)

    def query(self, data: bytes, *, has_points: bool = True) -> Query:
        """The query for a picture; without ``has_points`` its local features lack what ``points`` gives. Raises
        NotAnImage, TooLarge, MemoryError; see ``decode``."""
        picture = self._decode(data)
        luma = picture.image.convert("L")
        kept = asked = b""
        if self._features:
            kept, asked = extract_both(self._shown(picture, data), has_points=has_points)
        fingerprint = self._fingerprint(picture, luma, kept)
        return Query(fingerprint, fingerprint.orientations, asked)

    def points(self, data: bytes) -> bytes:
        """The points of a query's local features, for ``packing.with_points``. Raises as ``query``."""
        return extract_points(self._shown(self._decode(data, is_named=False), data))

    def _decode(self, data: bytes, *, is_named: bool = True) -> Picture:
        return decode(data, side_min=SIDE_MIN, max_pixels=self._max_pixels, is_named=is_named)

    def _shown(self, picture: Picture, data: bytes) -> Shown:
        clear = None if picture.clear is None else _reduced(picture.clear)
        frames = later_frames(data, picture.format)
        return Shown(_reduced(picture.image), clear, picture.on_black, frames, lambda: self._finer(picture, data))

    def _finer(self, picture: Picture, data: bytes) -> NDArray[np.uint8]:
        """The luma with at least ``PRINT_SIDE`` pixels on the longer side, if the file has them."""
        image = picture.image
        if max(image.size) < min(PRINT_SIDE, max(picture.width, picture.height)):  # a JPEG, decoded in fewer
            side = PRINT_SIDE * min(image.size) // max(image.size) + 1
            image = decode(data, side_min=side, max_pixels=self._max_pixels, is_named=False).image
        factor = max(image.size) // _FINER_SIDE
        return np.asarray((image.reduce(factor) if factor > 1 else image).convert("L"))

    def _fingerprint(self, picture: Picture, luma: Image.Image, features: bytes) -> Fingerprint:
        upright, *turned = oriented_hashes(luma)
        return Fingerprint(
            signals=Signals(upright, self._vector(picture.image)),
            model=None if self._model is None else self._model.info.id,
            width=picture.width,
            height=picture.height,
            format=picture.format,
            pixels=picture.pixels,
            low_information=min(picture.width, picture.height) < TINY_SIDE or is_low_in_information(luma),
            features=features,
            turned=tuple(turned),
            damaged=picture.damaged,
        )

    def _vector(self, image: Image.Image) -> FloatVector | None:
        if self._model is None:
            return None
        size = self._model.info.input_width, self._model.info.input_height
        # Aspect is not kept. reducing_gap averages whole blocks first: large pictures cost a fraction, and the result
        # hardly differs.
        view = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        vector: FloatVector = self._model.embed(np.asarray(view)[np.newaxis])[0]
        # As the store keeps it: a pair has the same score, to the last digit, whichever picture is asked.
        return np.asarray(vector, np.float16).astype(np.float32)


def _reduced(image: Image.Image) -> NDArray[np.uint8]:
    """Reduce to the size of the local features, which cost a few ms then instead of 180 ms at 24 megapixels."""
    factor = min(image.size) // SIDE_MIN
    return np.asarray(image.reduce(factor) if factor > 1 else image)  # reduced by 1, it is copied


def is_low_in_information(luma: Image.Image) -> bool:
    """True for a picture (mode L) without meaningful hashes: flat, a linear gradient, two-tone or near-empty.

    The measures are taken on 32 x 32 block averages: the deviation from the best plane, and the entropy of a histogram
    of 64 levels.
    """
    cells = np.asarray(luma.resize((TINY_SIDE, TINY_SIDE), Image.Resampling.BOX), np.float64)
    return _relief(cells) < RELIEF_MIN or _entropy(cells) < ENTROPY_MIN


def _relief(cells: NDArray[np.float64]) -> float:
    """Standard deviation from the best plane; on a square grid x and y are orthogonal and can be fitted separately."""
    axis = np.arange(len(cells)) - (len(cells) - 1) / 2
    spread = len(cells) * float(axis @ axis)
    slope_x, slope_y = float((cells @ axis).sum()) / spread, float((axis @ cells).sum()) / spread
    return float((cells - slope_x * axis - slope_y * axis[:, np.newaxis]).std())


def _entropy(cells: NDArray[np.float64]) -> float:
    shares = np.bincount((cells // 4).astype(np.intp).ravel()) / cells.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())

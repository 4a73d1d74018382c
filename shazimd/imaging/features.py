"""Local features and a small colour picture: what verification needs of an image, packed into a few KiB.

Features are SIFT keypoints (Lowe, IJCV 2004) with RootSIFT descriptors (Arandjelovic and Zisserman, CVPR 2012), kept
as 128 bits each: one bit for each of the descriptor's bins, set where the bin is filled. On the photos of
``benchmarks/quality`` the bits verify as many copies as the whole descriptors do, at an eighth of the size.

Each feature also has a *visual word*, its descriptor's place in a fixed vocabulary (a product of two codebooks of
256), for an inverted index to find it by. The vocabulary is made so that a mirror image needs no second look: the
word of a mirrored feature is the word with its two bytes swapped, its bits are the bits in another order.
How they are packed: ``packing``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.small import SIGNATURES, SmallPicture, fit
from shazimd.words.packing import (
    ASKED_MAX,
    DRAWN,
    FEATURE,
    FRAMES_BYTES,
    FRAMES_SHAPE,
    HEADER,
    MOVING,
    STORED_MAX,
    VERSION,
)

SIDE = 256
"""Longer side, in pixels, of the frame that features are looked for in; smaller pictures are not enlarged."""


class Detail(NamedTuple):
    """How much is kept."""

    features: int
    photo_side: int
    """longer side of the small picture of a photograph, pixels"""
    photo_bytes_max: int
    drawn_side: int
    """longer side of the small picture of a page, chart or drawing"""
    drawn_bytes_max: int


STORED = Detail(features=STORED_MAX, photo_side=192, photo_bytes_max=4500, drawn_side=384, drawn_bytes_max=8900)
"""3 KiB of features and 3 to 4 KiB of picture for most photos; at most 12 KB in all."""
ASKED = Detail(features=ASKED_MAX, photo_side=256, photo_bytes_max=22000, drawn_side=384, drawn_bytes_max=60000)
"""A query is not kept, so it can be richer: the known picture may fill only a corner of it."""

_FLAT_RANGE = 6
"""Grey levels: a pixel whose 3 x 3 neighbourhood spans no more lies on flat ground."""
_DRAWN_SHARE = 0.5
_PAGE_SHARE, _PAGE_TONE, _TONE_RANGE = 0.3, 0.35, 4
"""A picture is kept as drawn from the first share of flat ground on, or from the second where one tone (a range of so
many grey levels) fills the given share of it: text and modules need more pixels than photographs, and compress
better. Of 70 photos a tenth are so kept, products on plain ground."""
_LOSSLESS_SIDE = 64
"""Pixels: sprites and icons up to this side are kept as they are, in fewer bytes than their edges cost a JPEG."""

_CELLS = 4
"""Features are kept from a grid of 4 x 4 cells in turn, so that one busy corner does not take them all."""
_BIN_FILLED = 32 / 512
"""A bin of a RootSIFT descriptor (unit length) counts as filled above this: a third to a half of them are."""
_LUMA_SIDES = 128, 256
"""Longer side of the luma that agreement is measured on, pixels: of a stored picture and of a query."""
_JPEG_TRIES = (1.0, (80, 60, 40, 25)), (0.67, (40, 20, 5))
"""(share of the side, qualities) of photographs: the first under its bytes; the last for noise."""
_WEBP_TRIES = (1.0, 40), (0.8, 30), (0.67, 20)
"""(share of the side, quality) of drawn pictures: the first under its bytes; a dense page takes the last."""
_CONTRAST_MIN = 0.02
"""Half of OpenCV's default, so that faded and blurred copies still have features."""
_EDGE_RATIO_MAX = 12


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    width: int
    height: int
    """of the frame, pixels"""
    points: NDArray[np.float32]
    """[n, 2]: x, y in pixels of the frame"""
    sizes: NDArray[np.float32]
    """[n]: diameter, pixels of the frame"""
    angles: NDArray[np.float32]
    """[n]: radians, clockwise"""
    words: NDArray[np.uint16]
    """[n]: the word in the vocabulary"""
    bits: NDArray[np.bool_]
    """[n, 128]: which bins of the descriptor are filled"""
    small: SmallPicture
    """the whole picture, never mirrored"""
    drawn: bool
    """a page, chart or drawing rather than a photograph: mostly flat ground"""
    is_mirrored: bool = False
    frames: NDArray[np.uint8] | None = None
    """later frames of an animation, never mirrored; see ``frames.later_frames``"""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """[h, w, 3]: the whole picture, small, as Y, Cr, Cb. Raises ValueError for features that hold no picture."""
        return self.small.colours[:, ::-1] if self.is_mirrored else self.small.colours

    @property
    def luma(self) -> NDArray[np.uint8]:
        """[h, w]: luma at the side that agreement is measured at. Raises as ``picture``."""
        return self.small.luma[:, ::-1] if self.is_mirrored else self.small.luma

    def mirrored(self) -> Features:
        """The features that the mirror image (left and right swapped) has."""
        points = self.points.copy()
        points[:, 0] = self.width - 1 - points[:, 0]
        return replace(
            self,
            points=points,
            angles=np.pi - self.angles,
            words=self.words.byteswap(),
            bits=self.bits[:, _MIRRORED_BINS],
            is_mirrored=not self.is_mirrored,
        )


def extract_features(
    pixels: NDArray[np.uint8], detail: Detail = STORED, frames: NDArray[np.uint8] | None = None
) -> bytes:
    """The features of a picture, RGB [h, w, 3] or luma [h, w], packed; fewer or none where it has no structure.

    ``frames``: later ones of an animation, of which this is the first."""
    pixels = _rgb(pixels)
    return _pack(pixels, detail, _described(_luma(pixels), detail.features), frames)


def extract_both(pixels: NDArray[np.uint8], frames: NDArray[np.uint8] | None = None) -> tuple[bytes, bytes]:
    """``extract_features`` with ``STORED`` and with ``ASKED`` detail, for the cost of one detection."""
    pixels = _rgb(pixels)
    found = _described(_luma(pixels), max(STORED.features, ASKED.features))
    return _pack(pixels, STORED, found, frames), _pack(pixels, ASKED, found, frames)


def unpack_features(data: bytes) -> Features:
    """Unpack the bytes of ``extract_features``. Raises ValueError for bytes that it did not make; a picture that is
    damaged is found when it is looked at."""
    if len(data) < HEADER.size or data[0] != VERSION:
        raise ValueError(
            f"packed features begin with {data[:1]!r} and are {len(data)} bytes, expected version {VERSION}"
        )
    _, flags, width, height, count = HEADER.unpack_from(data)
    end = HEADER.size + count * FEATURE.itemsize
    if len(data) <= end:
        raise ValueError(f"packed features are {len(data)} bytes, expected {count} features and a picture")
    last = len(data) - (FRAMES_BYTES if flags & MOVING else 0)
    if last <= end or not data.startswith(SIGNATURES, end):
        raise ValueError(f"packed features end in {len(data) - end} bytes that are no picture")
    rows = np.frombuffer(data, FEATURE, count, HEADER.size)
    return Features(
        width=width,
        height=height,
        points=np.divide(np.stack([rows["x"], rows["y"]], axis=1), 64, dtype=np.float32),
        sizes=np.exp2(rows["size"].astype(np.float32) / 32),
        angles=rows["angle"].astype(np.float32) * (2 * np.pi / 256),
        words=rows["word"],
        bits=np.unpackbits(rows["bits"], axis=1).astype(bool),
        small=SmallPicture(data[end:last], _LUMA_SIDES[count > STORED.features]),  # more than are ever stored: a query
        drawn=bool(flags & DRAWN),
        frames=np.frombuffer(data, np.uint8, offset=last).reshape(FRAMES_SHAPE) if flags & MOVING else None,
    )


def half_descriptors(luma: NDArray[np.uint8], limit: int) -> NDArray[np.float32]:
    """Training data of a vocabulary: the halves of the ``limit`` strongest descriptors, float32 [2 n, 64]."""
    upper, lower = _halves(_strongest(luma, limit).descriptors)
    return np.concatenate([upper, lower])


class _Found(NamedTuple):
    """The strongest features of a picture, best first."""

    frame: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    """[n, 5]: x, y, size, angle, response"""
    descriptors: NDArray[np.float32]
    """[n, 128], RootSIFT"""


def _strongest(luma: NDArray[np.uint8], limit: int) -> _Found:
    """Descriptors are made of what is kept alone: for all that is found they cost as much as finding it."""
    frame = fit(luma, SIDE)
    detector = cv2.SIFT.create(contrastThreshold=_CONTRAST_MIN, edgeThreshold=_EDGE_RATIO_MAX)
    found = detector.detect(frame)
    if not found:
        return _Found(frame, np.empty((0, 5), np.float32), np.empty((0, 128), np.float32))
    order = _order(_as_rows(found), frame.shape)[:limit]
    kept, descriptors = detector.compute(frame, [found[place] for place in order])
    sums = descriptors.sum(axis=1, keepdims=True)
    return _Found(frame, _as_rows(kept), np.sqrt(descriptors / np.maximum(sums, 1)).astype(np.float32))


class _Described(NamedTuple):
    """The strongest features of a picture as they are packed, best first."""

    width: int
    height: int
    """of the frame, pixels"""
    drawn: bool
    rows: NDArray[np.void]
    """[n], ``packing.FEATURE``"""


def _described(luma: NDArray[np.uint8], limit: int) -> _Described:
    frame, keypoints, descriptors = _strongest(luma, limit)
    rows = np.zeros(len(keypoints), FEATURE)
    rows["x"], rows["y"] = np.clip(np.round(keypoints[:, :2].T * 64), 0, 65535)
    rows["size"] = np.clip(np.round(32 * np.log2(np.maximum(keypoints[:, 2], 1))), 0, 255)
    rows["angle"] = np.round(keypoints[:, 3] * (256 / 360)).astype(int) % 256
    rows["word"] = _words(descriptors)
    rows["bits"] = np.packbits(descriptors > _BIN_FILLED, axis=1)
    return _Described(frame.shape[1], frame.shape[0], _is_drawn(frame), rows)


def _as_rows(keypoints: Sequence[cv2.KeyPoint]) -> NDArray[np.float32]:
    return np.array([(*k.pt, k.size, k.angle, k.response) for k in keypoints], np.float32)


def _order(keypoints: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """The order in which features are kept: by response and size, from each cell of the picture in turn.

    Size counts because fine features are the first that shrinking and blurring take away."""
    strength = keypoints[:, 4] * np.sqrt(keypoints[:, 2])
    cells = np.clip(keypoints[:, :2] * _CELLS / shape[::-1], 0, _CELLS - 1).astype(int) @ (_CELLS, 1)
    order = np.lexsort((-strength, cells))
    turn = np.empty(len(keypoints), int)
    turn[order] = np.arange(len(keypoints)) - np.searchsorted(cells[order], cells[order])
    return np.lexsort((-strength, turn))


def _pack(pixels: NDArray[np.uint8], detail: Detail, found: _Described, frames: NDArray[np.uint8] | None) -> bytes:
    rows = found.rows[: detail.features]
    flags = (DRAWN if found.drawn else 0) | (0 if frames is None else MOVING)
    header = HEADER.pack(VERSION, flags, found.width, found.height, len(rows))
    small = _small_picture(pixels, detail, found.drawn)
    return header + rows.tobytes() + small + (b"" if frames is None else frames.tobytes())


def _small_picture(rgb: NDArray[np.uint8], detail: Detail, drawn: bool) -> bytes:
    if max(rgb.shape[:2]) <= _LOSSLESS_SIDE:
        encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
        if len(encoded) <= detail.photo_bytes_max:
            return encoded
    if not drawn:
        for share, qualities in _JPEG_TRIES:
            small = _small_bgr(rgb, share * detail.photo_side)
            for quality in qualities:
                encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
                if len(encoded) <= detail.photo_bytes_max:
                    return encoded
        return encoded
    if detail is ASKED:  # WebP would cost 5 ms more, and a query is not kept
        small = _small_bgr(rgb, detail.drawn_side)
        return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    for share, quality in _WEBP_TRIES:
        small = _small_bgr(rgb, share * detail.drawn_side)
        encoded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        if len(encoded) <= detail.drawn_bytes_max:
            break
    return encoded


def _small_bgr(rgb: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    return np.ascontiguousarray(fit(rgb, round(side))[..., ::-1])


def _flat_share(frame: NDArray[np.uint8]) -> float:
    """The share of pixels on flat ground, [0, 1]."""
    kernel = np.ones((3, 3), np.uint8)
    spans = cv2.subtract(cv2.dilate(frame, kernel), cv2.erode(frame, kernel))
    return float((spans <= _FLAT_RANGE).mean())


def _is_drawn(frame: NDArray[np.uint8]) -> bool:
    flat = _flat_share(frame)
    if flat >= _DRAWN_SHARE or flat < _PAGE_SHARE:
        return flat >= _DRAWN_SHARE
    tones = np.bincount(frame.ravel() // (2 * _TONE_RANGE), minlength=256 // (2 * _TONE_RANGE))
    return bool((tones[:-1] + tones[1:]).max() >= _PAGE_TONE * frame.size)


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)


def _luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _words(descriptors: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest entry for the upper half in the high byte, for the lower half, mirrored, in the low byte."""
    upper, lower = (_nearest(half) for half in _halves(descriptors))
    return (upper * 256 + lower).astype(np.uint16)


def _halves(descriptors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The upper 64 bins, and the lower 64 as they would be the upper ones of the mirrored feature."""
    return descriptors[:, :64], descriptors[:, _MIRRORED_BINS][:, :64]


def _nearest(halves: NDArray[np.float32]) -> NDArray[np.intp]:
    distances: NDArray[np.float32] = _HALF_NORMS - halves @ _CODEBOOK.T
    nearest: NDArray[np.intp] = distances.argmin(axis=1)
    return nearest


def _mirrored_bins() -> NDArray[np.intp]:
    """The source of each bin of a mirrored feature's descriptor.

    In the feature's own axes a mirror turns the 4 rows over and reverses the 8 directions, 4 columns stay."""
    bins = np.arange(128).reshape(4, 4, 8)
    return bins[::-1, :, (-np.arange(8)) % 8].ravel()


def _codebook() -> NDArray[np.float32]:
    """256 half descriptors, float32 [256, 64], kept as bytes, 512 to the unit; benchmarks/quality/train_words.py."""
    with open(os.path.join(os.path.dirname(__file__), "words.bin"), "rb") as file:  # importlib.resources: 1 MiB, 4 ms
        data = file.read()
    return np.divide(np.frombuffer(data, np.uint8).reshape(256, 64), 512, dtype=np.float32)


_MIRRORED_BINS = _mirrored_bins()
_CODEBOOK = _codebook()
_HALF_NORMS = (_CODEBOOK**2).sum(axis=1) / 2

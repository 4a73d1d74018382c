"""Local features and a small luma picture: what verification needs of an image, packed into a few KiB.

Keypoints are in units of the picture's width, so that they do not depend on the scale it was decoded at. Descriptors
are ORB's (Rublee et al., ICCV 2011): 256 bits, compared by Hamming distance.

Packed, little-endian: version u8, luma height u8, luma width u8, 0 u8, count u16, aspect (height / width) f32,
keypoints u16 [n, 2] as fractions of width and height, descriptors u8 [n, 32], luma u8 [height, width].
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

VERSION = 1
SIDE = 320
"""Longer side, in pixels, of the picture that features are looked for in."""
LUMA_SIDE = 64
FEATURES_MAX = 84
"""84 * (4 + 32) + 64 * 64 + 10 bytes = 7,130: under 7 KiB."""

_BORDER = 31
"""ORB's edge threshold: nothing is found nearer to an edge, and a picture within it makes OpenCV's pyramid fail."""

_HEADER = struct.Struct("<BBBxHf")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    keypoints: NDArray[np.float32]
    """[n, 2]: x, y in units of the picture's width"""
    descriptors: NDArray[np.uint8]
    """[n, 32]"""
    luma: NDArray[np.uint8]
    """[h, w], the whole picture, longer side ``LUMA_SIDE``"""


def extract_features(luma: NDArray[np.uint8]) -> bytes:
    """The strongest ORB features of a luma picture [h, w], and the picture made small; at most 7 KiB, packed."""
    scaled = _fit(luma, SIDE)
    height, width = scaled.shape
    points, descriptors = _orb(scaled)
    small = _fit(luma, LUMA_SIDE)
    header = _HEADER.pack(VERSION, *small.shape, len(points), height / width)
    fractions = np.round(points / (width, height) * 65535).astype("<u2")
    return header + fractions.tobytes() + descriptors.tobytes() + small.tobytes()


def unpack_features(data: bytes) -> Features:
    """What ``extract_features`` packed. Raises ValueError for bytes that it did not make."""
    if len(data) < _HEADER.size or data[0] != VERSION:
        raise ValueError(
            f"packed features begin with {data[:1]!r} and are {len(data)} bytes, expected version {VERSION}"
        )
    _, height, width, count, aspect = _HEADER.unpack_from(data)
    if len(data) != _HEADER.size + count * 36 + height * width:
        raise ValueError(f"packed features are {len(data)} bytes, expected {count} features and {width}x{height} luma")
    offset = _HEADER.size
    fractions = np.frombuffer(data, "<u2", count * 2, offset).reshape(-1, 2) / 65535
    descriptors = np.frombuffer(data, np.uint8, count * 32, offset + count * 4).reshape(-1, 32)
    luma = np.frombuffer(data, np.uint8, height * width, offset + count * 36).reshape(height, width)
    return Features((fractions * (1, aspect)).astype(np.float32), descriptors, luma)


def _orb(luma: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points float32 [n, 2] in pixels and their descriptors uint8 [n, 32], strongest first."""
    keypoints: Sequence[cv2.KeyPoint] = ()
    if min(luma.shape) > 2 * _BORDER:
        detector = cv2.ORB.create(nfeatures=FEATURES_MAX, fastThreshold=10)
        keypoints, descriptors = detector.detectAndCompute(luma, None)
    if not keypoints:
        return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
    points = np.array([k.pt for k in keypoints], np.float32)
    return points[:FEATURES_MAX], descriptors[:FEATURES_MAX].astype(np.uint8, copy=False)


def _fit(luma: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with its longer side at most ``side`` pixels, by averaging, so that detail does not alias."""
    height, width = luma.shape
    scale = side / max(height, width)
    if scale >= 1:
        return luma
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

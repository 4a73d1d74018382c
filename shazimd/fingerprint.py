"""A picture's fingerprint, and a picture to search for: types with vectors, and so with NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shazimd.types import Hashes

FloatVector: TypeAlias = NDArray[np.float32]
"""A feature vector, float32 [d], of unit length."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Inputs of the score. A signal that is None does not count: weights are renormalised over the others."""

    hashes: Hashes
    fv: FloatVector | None
    """feature vector, float32, unit length; vectors are compared only within one model"""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Derived data of a content, as the store keeps it."""

    signals: Signals
    model: str | None
    """id of the model that made ``signals.fv``; None when there is no vector"""
    width: int
    """pixels, after EXIF orientation"""
    height: int
    format: str
    """Pillow's name of the format, such as "JPEG" """
    pixels: bytes | None = None
    """Hash of the pixels, independent of metadata and of lossless encoding; equal only for equal pixels. None if a
    second decode would be needed to know them."""
    low_information: bool = False
    """flat, two-tone, near-empty or tiny: its hashes mean little, and it never matches by score alone"""
    features: bytes = b""
    """local features and a small luma picture, packed by ``imaging.features``; may be empty"""
    turned: tuple[Hashes, ...] = ()
    """the hashes of the picture in the 7 other orientations, as in ``imaging.hashes``; empty for a picture that was
    fingerprinted before these were kept"""
    damaged: bool = False
    """the file ends early or has broken parts: the picture was decoded as far as it goes"""

    @property
    def oriented_hashes(self) -> tuple[Hashes, ...]:
        """The hashes in the orientations that are kept, upright first."""
        return (self.signals.hashes, *self.turned)

    @property
    def orientations(self) -> tuple[Signals, ...]:
        """Signals of the distinct orientations, upright first; all have the upright vector."""
        upright = self.signals
        distinct = dict.fromkeys(self.oriented_hashes)
        return (upright, *(Signals(hashes, upright.fv) for hashes in list(distinct)[1:]))


class Appearance(NamedTuple):
    """The fields of a fingerprint that people are shown."""

    width: int
    height: int
    format: str
    damaged: bool


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A picture to search for: its fingerprint, and its signals when turned and mirrored."""

    fingerprint: Fingerprint
    orientations: tuple[Signals, ...]
    """Signals of the distinct orientations among all 8, upright first: each has its own hashes, all have the upright
    vector. Another vector would cost as much as all the rest, and finds no candidate beyond the local features'."""
    features: bytes = b""
    """more local features than the store keeps, packed like ``Fingerprint.features``"""

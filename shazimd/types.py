"""The nouns that rooms hand to each other, and what makes weights and a threshold valid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatVector: TypeAlias = NDArray[np.float32]
"""A feature vector, float32 [d], of unit length."""

Weights: TypeAlias = tuple[float, float, float]
"""What (ah, dh, fv) count for in the score; not negative, not all zero, any sum."""

Digest: TypeAlias = bytes
"""BLAKE2b-256 of a file's bytes: 32 bytes. It names a content."""

ContentId: TypeAlias = int
"""The store's number for a content: from 1, growing, never used again."""

DEFAULT_WEIGHTS: Weights = (1.0, 1.0, 2.0)
DEFAULT_THRESHOLD = 0.75
HASH_BITS = 64


def check_weights(weights: Weights) -> None:
    """Raise ValueError unless there are three finite weights, none negative, not all zero."""
    if len(weights) != 3 or not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
        raise ValueError(f"weights are {list(weights)}, expected three numbers >= 0 that are not all zero")


def check_threshold(threshold: float) -> None:
    """Raise ValueError unless the threshold lies in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected a number from 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What the score compares. A signal that is None does not count: weights are renormalised over the others."""

    ah: int | None
    """average hash, 64 bits, bit order of ``imagehash`` (first bit is the most significant)"""
    dh: int | None
    """difference hash, 64 bits"""
    fv: FloatVector | None
    """feature vector, float32, unit length; vectors are compared only within one model"""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a content."""

    signals: Signals
    model: str | None
    """id of the model that made ``signals.fv``; None when there is no vector"""
    width: int
    """pixels, after EXIF orientation"""
    height: int
    format: str
    """Pillow's name of the format, such as "JPEG" """
    pixels: bytes | None = None
    """Names the picture whatever its metadata or lossless encoding; equal only when the pixels are equal. None
    where that could not be known without a second decode."""
    low_information: bool = False
    """flat, two-tone, near-empty or tiny: its hashes say nothing, so it only ever matches as ``exact``"""
    features: bytes = b""
    """local features and a small luma picture, packed by ``imaging.features``; empty where there are none"""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A picture as it is asked about: its fingerprint, and how it would look turned and mirrored."""

    fingerprint: Fingerprint
    orientations: tuple[Signals, ...]
    """the distinct ones of the 8 orientations, upright first: each with its own hashes, all with the upright vector,
    for another would cost as much as all the rest and finds no candidate that the local features don't"""
    features: bytes = b""
    """local features in more detail than is kept, packed like ``Fingerprint.features``"""


class Verdict(StrEnum):
    """What a match is, strongest first."""

    EXACT = "exact"
    """same bytes, or same pixels"""
    COPY = "copy"
    """a geometric map relates the pictures, and they agree once aligned"""
    VARIANT = "variant"
    """one template, layout or background, with other content in places"""
    SCENE = "scene"
    """a geometric map relates them, but another shot of the same thing"""
    SIMILAR = "similar"
    """the score alone reaches the threshold"""


class Similarities(NamedTuple):
    """dah, ddh, dfv: 1 means same. None where one side lacks the signal."""

    dah: float | None
    ddh: float | None
    dfv: float | None


class Hit(NamedTuple):
    """A row that the index found."""

    content: ContentId
    score: float
    similarities: Similarities


@dataclass(frozen=True, slots=True)
class Mapping:
    """How the query lies in the match: query pixels -> match pixels, in units of each picture's width."""

    scale: float
    rotation_deg: float
    mirrored: bool
    region: tuple[float, float, float, float]
    """(left, top, right, bottom) of the query in the match, as fractions of the match's size; may reach outside"""


Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) as fractions of a picture's size."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Where the two pictures of a VARIANT have other content."""

    share: float
    """of the overlap, [0, 1]"""
    regions: tuple[tuple[Box, Box], ...]
    """(in the query, in the match) for each region, most different first; the query as it is, not mirrored"""


@dataclass(frozen=True, slots=True)
class Verification:
    """The geometric relation of a pair and its verdict."""

    verdict: Verdict | None
    """COPY, VARIANT, SCENE, or None where no map was found"""
    inliers: int = 0
    agreement: float | None = None
    """median local correlation over the overlap, [-1, 1]"""
    mapping: Mapping | None = None
    differs: Differences | None = None
    """set for a VARIANT whose regions could be told"""


@dataclass(frozen=True, slots=True)
class Match:
    """A known image file that answers a query."""

    path: bytes
    content: ContentId
    score: float
    similarities: Similarities
    verdict: Verdict
    width: int
    height: int
    verification: Verification | None = None


class Stat(NamedTuple):
    """What tells that a file is unchanged."""

    size: int
    mtime_ns: int
    inode: int


class FileState(StrEnum):
    INDEXED = "indexed"
    FAILED = "failed"
    """its reason is kept; tried again only when the file changes"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the store knows of one file."""

    stat: Stat
    state: FileState
    content: ContentId | None = None
    """set when indexed"""
    reason: str = ""
    """set when failed: an error code and message"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory as the store knows it: one level, names as bytes."""

    files: dict[bytes, FileRow] = field(default_factory=dict)
    directories: frozenset[bytes] = frozenset()

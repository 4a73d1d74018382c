"""Types that several packages share, and the checks of weights and thresholds."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias, TypeVar

from msgspec import MsgspecError, Struct
from msgspec.msgpack import Decoder

from shazimd.text import (
    DIGEST_BYTES,
    HASHES,
    SIMILARITIES,
    THRESHOLD_EXPECTED,
    WEIGHTS_EXPECTED,
    are_weights,
    is_threshold,
)

Hashes: TypeAlias = tuple[int | None, ...]
"""A picture's hashes in the order of ``text.HASHES``, 64 bits each, in the bit order of ``imagehash`` (the first bit is
the most significant); None for one that was not computed."""

Weights: TypeAlias = tuple[float, ...]
"""Weights in the score, in the order of ``text.SIGNALS``; not negative, not all zero, any finite sum."""

Digest: TypeAlias = bytes
"""BLAKE2b-256 of a file's bytes, 32 bytes long: the name of a content."""

ContentId: TypeAlias = int
"""The store's number for a content: from 1, ascending, never reused."""

# The original shazim's values. Geometry confirms copies whatever the score: with it, these decide only on "similar".
DEFAULT_WEIGHTS: Weights = (*(each.weight for each in HASHES), 2.0)
DEFAULT_THRESHOLD = 0.75
HASH_BITS = 64
HASH_MAX: int = 2**HASH_BITS - 1
PIXELS_BYTES = 16
"""Length of ``Fingerprint.pixels``: 128 bits."""
FORMATS = (
    *("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "JXL", "GIF", "TIFF", "BMP", "DIB", "JPEG2000"),
    *("ICO", "PPM", "PSD", "QOI", "SGI", "PCX", "DDS", "ICNS", "TGA"),
)
"""Formats that Pillow opens, by its names; it opens a JPEG of several pictures as JPEG and then renames it to MPO. TGA
is last: it has no signature, and its plug-in would accept files of other formats."""
OTHER_FORMATS = ("MPO", "RAW", "HDR", "PFM", "PAM", "JXR", "JLS")
"""Further names that a fingerprint may have as its format, by the readers of ``imaging.readers``."""


UNDECODABLE = (MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of msgspec for bytes that are not of a kind: deep nesting is a RecursionError."""

_K = TypeVar("_K")
_decodable: set[object] = set()
_learning = threading.Lock()


def decodable(kind: _K) -> _K:
    """A type for ``decode`` and ``convert`` of msgspec, which has learned all of it by then.

    At its first use msgspec makes a description of a class, and other threads see it before it is complete: one that
    decodes by it ends the process (msgspec 0.22, ``StructInfo_Convert``). So only one thread at a time learns."""
    if kind not in _decodable:
        with _learning:
            Decoder(kind)
            _decodable.add(kind)
    return kind


def digest_of(data: bytes) -> Digest:
    """The name of these bytes: BLAKE2b (RFC 7693), 32 bytes."""
    return new_digest(data).digest()


def new_digest(data: bytes = b"") -> hashlib.blake2b:
    """The state of ``digest_of``, for bytes that come in pieces."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES)


def check_weights(weights: Weights) -> None:
    """Raise ValueError unless there is a weight for each signal, none negative, not all zero, with a finite sum."""
    if not are_weights(weights):
        raise ValueError(f"weights are {list(weights)}, expected {WEIGHTS_EXPECTED}")


def check_threshold(threshold: float) -> None:
    """Raise ValueError unless the threshold lies in [0, 1]."""
    if not is_threshold(threshold):
        raise ValueError(f"threshold is {threshold}, expected {THRESHOLD_EXPECTED}")


def rounded_score(value: float) -> float:
    """A score or similarity for an answer, an alert or a log: four digits, the same everywhere.

    The smallest step of a hash's similarity is 1/64 = 0.0156, and a feature vector of float32 is not exact beyond a
    few more digits. Four of them order near matches; more would only differ between machines.
    """
    return round(value, 4)


class Verdict(StrEnum):
    """Kinds of match, strongest first."""

    EXACT = "exact"
    """same bytes, or same pixels"""
    COPY = "copy"
    """a geometric map relates the pictures, and they agree once aligned"""
    VARIANT = "variant"
    """one template, layout or background, with other content in places"""
    SCENE = "scene"
    """a geometric map relates them, but they are different shots of the same thing"""
    SIMILAR = "similar"
    """the score alone reaches the threshold"""


class Similarities(tuple[float | None, ...]):
    """Similarities of two pictures' signals, in the order of ``text.SIGNALS``: 1 means same, None means that either
    lacks the signal."""

    __slots__ = ()

    @property
    def dfv(self) -> float | None:
        """Of the vectors."""
        return self[-1]

    def named(self) -> dict[str, float | None]:
        """By their names in messages."""
        return dict(zip(SIMILARITIES, self, strict=True))


class Hit(NamedTuple):
    """A candidate from the index."""

    content: ContentId
    score: float
    similarities: Similarities


class Mapping(NamedTuple):
    """The geometric map from query to match, in units of each picture's width."""

    scale: float
    rotation_deg: float
    mirrored: bool
    region: tuple[float, float, float, float]
    """(left, top, right, bottom) of the query in the match, as fractions of the match's size; may reach outside"""


Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) as fractions of a picture's size."""


class Differences(NamedTuple):
    """The places of a VARIANT with other content."""

    share: float
    """of the overlap, [0, 1]"""
    regions: tuple[tuple[Box, Box], ...]
    """(in the query, in the match) for each region, most different first; the query as it is, not mirrored"""

    def mirrored(self) -> Differences:
        """As if the query had been mirrored, left and right swapped."""
        swapped = (((1 - right, top, 1 - left, bottom), theirs) for (left, top, right, bottom), theirs in self.regions)
        return Differences(self.share, tuple(swapped))

    def inverted(self) -> Differences:
        """As if the match had been the query."""
        return Differences(self.share, tuple((theirs, ours) for ours, theirs in self.regions))


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of comparing a pair by geometry and, once aligned, pixel by pixel."""

    verdict: Verdict | None
    """COPY, VARIANT, SCENE, or None without a relation"""
    inliers: int = 0
    agreement: float | None = None
    """median local correlation over the overlap, [-1, 1]"""
    mapping: Mapping | None = None
    differs: Differences | None = None
    """set for a VARIANT whose regions could be told"""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Facts about a picture beside its fingerprint, for the choice of the file to keep."""

    camera: str = ""
    """make and model in EXIF; empty when unknown"""
    captured: str = ""
    """EXIF capture date, which sorts as text; empty when unknown"""
    jpeg_quality: int = 0
    """estimated from the quantisation tables, 1 to 100; 0 when unknown"""
    lossless: bool = False
    grey: bool = False


class Evidence(NamedTuple):
    """Signs, by the pixels of a pair, of which picture was made from the other."""

    asked: tuple[str, ...] = ()
    """signs that the asked picture was made from the known one, such as "crop" """
    known: tuple[str, ...] = ()
    """signs that the known picture was made from the asked one"""
    detail: float | None = None
    """resolution of the asked picture's detail, as a multiple of the known one's; None when unknown"""


JUDGE = 31
"""Version of the judgement of a pair. Grows with each change to a verdict, a map, the regions that differ or a sign of
an edit: relations of another version are then found anew in the background."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A verified relation between two contents, as the store keeps it."""

    asked: ContentId
    """the content whose features were the query: mapping and regions go from here"""
    known: ContentId
    verification: Verification
    """its verdict is not None"""
    evidence: Evidence | None = None
    """None until the files of both were compared"""
    judge: int = JUDGE
    """the version that found it; 0 for a relation by features of another version, or of before versions were kept"""


class DecisionKind(StrEnum):
    NOT_DUPLICATES = "not_duplicates"
    """different pictures, however alike"""
    KEEP = "keep"
    """duplicates, and one of them is to keep"""
    LEAVE = "leave"
    """duplicates, and all of them are to stay"""


class UserDecision(Struct, frozen=True, array_like=True):
    """A person's decision about contents, known or not: digests survive renames, moves and a new index."""

    kind: DecisionKind
    contents: tuple[Digest, ...]
    """sorted, each once; at least two, one for LEAVE"""
    keep: Digest | None = None
    """among the contents; set for KEEP only"""
    uid: int | None = None
    """user id of the peer that decided; None when unknown"""
    time: str = ""
    """RFC 3339, UTC"""
    keep_path: bytes = b""
    """the file to keep among several of the content ``keep``, while it lies there; empty for any of them"""

    def silences(self, a: Digest, b: Digest) -> bool:
        """Whether these two contents, or two files of one content, are no longer reported as duplicates."""
        if a not in self.contents or b not in self.contents:
            return False
        return self.kind is DecisionKind.LEAVE or (self.kind is DecisionKind.NOT_DUPLICATES and a != b)


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
    stands_out: bool = False
    """whether the score is far above what most of the library has with this query; see ``search.score.stands_out``"""
    damaged: bool = False
    """see ``Fingerprint.damaged``"""


TIME_NS_MAX = (1 << 62) - 1
"""In ns from 1970: times of files before 1823 and after 2116 count as these bounds. NTFS and SMB give 1601 for a time
of zero; the store keeps no number of more than 64 bits, and another host takes none beyond these bounds."""
_TIMES_NS = range(-TIME_NS_MAX, TIME_NS_MAX + 1)


class Stat(NamedTuple):
    """Attributes of a file that change with its content."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0
    """Time of the last change of the inode, which no program can set; 0 for unknown, in rows of older versions."""

    @classmethod
    def of(cls, found: os.stat_result) -> Stat:
        mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
        if mtime_ns not in _TIMES_NS or ctime_ns not in _TIMES_NS:
            mtime_ns, ctime_ns = _bounded(mtime_ns), _bounded(ctime_ns)
        return cls(found.st_size, mtime_ns, found.st_ino, ctime_ns)

    @property
    def without_ctime(self) -> Stat:
        """The attributes that a rename leaves alone."""
        return self._replace(ctime_ns=0)

    def is_unchanged_since(self, known: Stat) -> bool:
        """Whether the file certainly has the bytes that it had when ``known`` was taken.

        Unpacking over a file may keep size, mtime and inode; ctime then differs."""
        return self == known or (known.ctime_ns == 0 and self[:3] == known[:3])


UNREAD_STAT = Stat(-1, -1, -1)
"""Differs from the stat of every file: each scan tries a file again that could not be read, whose worker was lost, or
that had no model, which may be mended. A chmod changes no mtime."""


def _bounded(time_ns: int) -> int:
    return max(-TIME_NS_MAX, min(time_ns, TIME_NS_MAX))


class FileState(StrEnum):
    INDEXED = "indexed"
    FAILED = "failed"
    """kept with a reason; the next attempt is made when the file changes"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file's record in the store."""

    stat: Stat
    state: FileState
    content: ContentId | None = None
    """set when indexed"""
    reason: str = ""
    """set when failed: an error code and message"""
    since: int = field(default=0, compare=False)
    """when failed: Unix time, in seconds, of the first failure for this reason; 0 when not recorded"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory's records in the store: one level, names as bytes."""

    files: dict[bytes, FileRow] = field(default_factory=dict)
    directories: frozenset[bytes] = frozenset()

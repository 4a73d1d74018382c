"""Values: how rows become bytes. FORMAT.md has the bytes, and which changes need a new schema number.

Records are MessagePack arrays (msgspec): small, fast, readable by other languages. Values of callers are JSON, ASCII
only: its escapes keep even lone surrogates, which os.fsdecode makes of bytes that are not UTF-8.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Sequence
from itertools import chain, takewhile
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from shazimd.errors import StoreDamaged
from shazimd.fingerprint import Fingerprint, FloatVector, Query, Signals
from shazimd.store.tables import MODEL_BYTES
from shazimd.text import HASHES
from shazimd.types import (
    PIXELS_BYTES,
    UNDECODABLE,
    UNREAD_STAT,
    ContentId,
    Digest,
    FileRow,
    FileState,
    Hashes,
    Stat,
    decodable,
)

_SURROGATES = "surrogatepass"
_UNIT_TOLERANCE = 1e-3
"""Rounding to float32 or float16 stays well inside; a vector without normalisation does not."""

FORMAT_MAX = 32
"""Characters of a format's name: a later version may know more formats, and no longer names."""
_PAIR = 2
"""Hashes with fields of their own, besides their places in ``turned``."""
_PAIRS_BYTES = 7 * _PAIR * 8
_FURTHER = [_PAIRS_BYTES + 8 * 8 * number for number in range(len(HASHES) - _PAIR)]
"""Positions in ``turned`` of the other hashes."""
_TWO_HASHES, _COLUMN = struct.Struct(">QQ"), struct.Struct(">8Q")
TURNED_BYTES = _PAIRS_BYTES + 8 * 8 * len(_FURTHER)
Hash: TypeAlias = Annotated[int, Meta(ge=0)]
"""64 bits; MessagePack has no larger number"""
Side: TypeAlias = Annotated[int, Meta(ge=1, le=2**32 - 1)]


class FileRecord(Struct, frozen=True, array_like=True):
    """One file: its stat, its content (0 for a failed file) and the reason of the failure (UTF-8)."""

    size: int
    mtime_ns: int
    inode: int
    content: Annotated[ContentId, Meta(ge=0)]
    reason: bytes
    ctime_ns: int = 0
    """missing in rows written before it was recorded"""
    since: int = 0
    """likewise; 0 for an indexed file"""


class ContentRecord(Struct, frozen=True, array_like=True):
    """One content, without its vectors and its local features."""

    digest: Digest
    ah: Hash | None
    dh: Hash | None
    width: Side
    height: Side
    format: Annotated[str, Meta(max_length=FORMAT_MAX)]
    pixels: Annotated[bytes, Meta(min_length=PIXELS_BYTES, max_length=4 * PIXELS_BYTES)] | None
    low_information: bool
    features_version: Annotated[int, Meta(ge=0, le=255)] = 0
    turned: Annotated[bytes, Meta(max_length=TURNED_BYTES)] = b""
    """8 bytes each, big-endian: average hash and difference hash of the 7 other orientations, then each further hash of
    all 8, upright first; missing in rows written before these were kept"""
    damaged: bool = False
    """likewise"""

    def __post_init__(self) -> None:
        if self.turned and len(self.turned) != TURNED_BYTES:
            check_turned(self.turned)

    @property
    def hashes(self) -> Hashes:
        return upright(self.ah, self.dh, self.turned)


class ModelRecord(Struct, frozen=True, array_like=True):
    """One model: its number in keys, the width and the count of its vectors."""

    number: Annotated[int, Meta(ge=1, le=65535)]
    width: Side
    vectors: Annotated[int, Meta(ge=0)]

    @property
    def prefix(self) -> bytes:
        """Of the keys of its vectors."""
        return self.number.to_bytes(MODEL_BYTES, "big")


class SignalsRecord(Struct, frozen=True, array_like=True):
    """The signals of one orientation, without the hashes that ``turned`` of the content has alone."""

    ah: Hash | None
    dh: Hash | None
    fv: bytes | None

    def __post_init__(self) -> None:
        if self.fv is not None and sound_vector(self.fv) is None:
            raise ValueError(f"fv of {len(self.fv)} bytes is no vector of unit length")


class PendingAlertRecord(Struct, frozen=True, array_like=True):
    """A pending alert: the signals of the file's picture first, then those of each orientation.

    The content has a digest if only matches on other hosts are still to be looked for."""

    path: bytes
    content: ContentRecord
    model: str | None
    signals: Annotated[list[SignalsRecord], Meta(min_length=1, max_length=9)]
    features: bytes
    asked_features: bytes


class PendingAlertPath(Struct, frozen=True, array_like=True):
    """The beginning of a pending alert, whatever follows."""

    path: bytes


R = TypeVar("R", bound=Struct)

encode = msgspec.msgpack.Encoder().encode
_decode_file = msgspec.msgpack.Decoder(decodable(FileRecord)).decode  # a scan decodes all: half the time
_as_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def decode(raw: bytes, kind: type[R]) -> R:
    """A record from its bytes. Raises StoreDamaged."""
    try:
        return msgspec.msgpack.decode(raw, type=decodable(kind))
    except UNDECODABLE as error:
        raise StoreDamaged(f"a record is {raw[:40]!r}, expected a {kind.__name__}: {error}") from error


def sound(raw: bytes | None, kind: type[R]) -> R | None:
    """A record from its bytes; None without any, and for values that no record of this kind has."""
    try:
        return msgspec.msgpack.decode(raw, type=decodable(kind)) if raw else None
    except UNDECODABLE:
        return None


def fault(raw: bytes, kind: type[Struct]) -> str:
    """The reason for which bytes are no record of this kind; empty for a sound record."""
    try:
        msgspec.msgpack.decode(raw, type=decodable(kind))
    except UNDECODABLE as error:
        names = kind.__struct_fields__
        return re.sub(r"\$\[(\d+)\]", lambda m: f"`{names[int(m[1])] if int(m[1]) < len(names) else m[1]}`", str(error))
    return ""


def encode_file(row: FileRow) -> bytes:
    """The bytes of a file's row. Raises ValueError when its state and content contradict each other."""
    if (row.state is FileState.INDEXED) != (row.content is not None):
        raise ValueError(f"file is {row.state} with content {row.content}, expected one exactly when it is indexed")
    size, mtime_ns, inode, ctime_ns = row.stat
    reason = row.reason.encode("utf-8", _SURROGATES)
    return encode(FileRecord(size, mtime_ns, inode, row.content or 0, reason, ctime_ns, row.since))


def stat_bytes(stat: Stat) -> bytes:
    """The size, mtime and inode as they stand in the bytes of a file's row, after the first."""
    return b"".join(encode(value) for value in (stat.size, stat.mtime_ns, stat.inode))


def decode_file(raw: bytes) -> FileRow:
    """A file's row from its bytes; that of a failed file for unsound bytes, so that each scan reads the file again."""
    try:
        record = _decode_file(raw)
    except UNDECODABLE:
        return FileRow(UNREAD_STAT, FileState.FAILED, reason="store_damaged: the row of the file is unsound")
    stat = Stat(record.size, record.mtime_ns, record.inode, record.ctime_ns)
    state = FileState.INDEXED if record.content else FileState.FAILED
    try:
        reason = record.reason.decode("utf-8", _SURROGATES)
    except UnicodeDecodeError:
        reason = record.reason.decode("latin-1")  # as another program wrote it
    return FileRow(stat, state, record.content or None, reason, record.since)


def is_failed(raw: bytes) -> bool:
    """Whether a file's row is that of a failed file."""
    return decode_file(raw).state is FileState.FAILED


def features_version(features: bytes) -> int:
    """The version of the code that made packed local features, their first byte; 0 for no features."""
    return features[0] if features else 0


def of_version(features: bytes, version: int | None) -> bytes:
    """The features if they are of this version (None: of any), else none."""
    return features if version in (None, features_version(features)) else b""


def to_record(digest: Digest, fingerprint: Fingerprint) -> ContentRecord:
    """A fingerprint without its vector and its local features, which have tables of their own."""
    f = fingerprint
    ah, dh, turned = encode_hashes(f.oriented_hashes)
    return ContentRecord(
        digest,
        ah,
        dh,
        f.width,
        f.height,
        f.format,
        f.pixels or None,
        f.low_information,
        features_version(f.features),
        turned,
        f.damaged,
    )


def to_fingerprint(record: ContentRecord, fv: FloatVector | None, model: str | None, features: bytes) -> Fingerprint:
    """A fingerprint from the rows of a content."""
    return Fingerprint(
        signals=Signals(record.hashes, fv),
        model=None if fv is None else model,
        width=record.width,
        height=record.height,
        format=record.format,
        pixels=record.pixels,
        low_information=record.low_information,
        features=features,
        turned=decode_turned(record.turned),
        damaged=record.damaged,
    )


def check_turned(raw: bytes) -> None:
    """Raise ValueError for a length that no ``turned`` has: the last hashes may be missing."""
    if raw and len(raw) not in (TURNED_BYTES, *_FURTHER):
        raise ValueError(f"turned has {len(raw)} bytes, expected {TURNED_BYTES} or none")


def encode_hashes(oriented_hashes: Sequence[Hashes]) -> tuple[int | None, int | None, bytes]:
    """``ah``, ``dh`` and ``turned`` of a ``ContentRecord``. Other hashes are kept of all 8 orientations
    together, up to the first that is missing."""
    upright, *turned = oriented_hashes
    pairs = [hashes[:_PAIR] for hashes in turned]
    further = list(zip(*oriented_hashes, strict=True))[_PAIR:] if turned else []
    numbers = [*chain(*pairs, *takewhile(lambda column: None not in column, further))]
    return upright[0], upright[1], struct.pack(f">{len(numbers)}Q", *numbers)


def decode_turned(raw: bytes) -> tuple[Hashes, ...]:
    """The hashes of the other orientations."""
    pairs = tuple(_TWO_HASHES.iter_unpack(raw[:_PAIRS_BYTES]))
    if not _FURTHER:
        return pairs
    return tuple((*pair, *own) for pair, own in zip(pairs, _others(raw)[1:], strict=False))


def upright(ah: int | None, dh: int | None, turned: bytes) -> Hashes:
    """The hashes of the picture as it is."""
    return (ah, dh, *_others(turned)[0]) if _FURTHER else (ah, dh)


def _others(turned: bytes) -> list[tuple[int | None, ...]]:
    """The hashes besides the pair, for each of 8 orientations."""
    columns = (_COLUMN.unpack_from(turned, at) if at < len(turned) else (None,) * 8 for at in _FURTHER)
    return list(zip(*columns, strict=True))


class PendingNote(NamedTuple):
    """A pending alert, decoded."""

    path: bytes
    query: Query
    digest: Digest
    """of the file's bytes, if matches on other hosts are to be looked for; else empty"""


def encode_pending_alert(path: bytes, query: Query, digest: Digest = b"") -> bytes:
    """The bytes of a pending alert."""
    f = query.fingerprint
    return encode(
        PendingAlertRecord(
            path,
            to_record(digest, f),
            f.model,
            [_to_signals_record(signals) for signals in (f.signals, *query.orientations)],
            f.features,
            query.features,
        )
    )


def sound_pending_alert(raw: bytes, version: int | None) -> PendingNote | None:
    """A pending alert, with features of one version; None for other bytes."""
    record = sound(raw, PendingAlertRecord)
    if record is None:
        return None
    own, *orientations = (_from_signals_record(signals) for signals in record.signals)
    fingerprint = to_fingerprint(record.content, own.fv, record.model, of_version(record.features, version))
    if fingerprint.turned:
        orientations = list(fingerprint.orientations)
    query = Query(fingerprint, tuple(orientations), of_version(record.asked_features, version))
    return PendingNote(record.path, query, record.content.digest)


def _to_signals_record(signals: Signals) -> SignalsRecord:
    ah, dh, *_ = signals.hashes
    return SignalsRecord(ah, dh, None if signals.fv is None else encode_vector(signals.fv))


def _from_signals_record(record: SignalsRecord) -> Signals:
    return Signals(upright(record.ah, record.dh, b""), None if record.fv is None else decode_vector(record.fv))


def encode_vector(fv: FloatVector) -> bytes:
    """A vector as float16, little-endian. Raises ValueError unless one-dimensional, finite and of unit length."""
    length = math.sqrt(float(fv @ fv)) if fv.ndim == 1 else math.nan  # a third of the time of np.linalg.norm
    if not abs(length - 1) <= _UNIT_TOLERANCE:
        raise ValueError(f"fv has shape {fv.shape} and length {length:.4f}, expected [d] and length 1")
    return fv.astype("<f2").tobytes()


def encode_vectors(vectors: Sequence[FloatVector]) -> list[bytes | None]:
    """Vectors [d] of one width as ``encode_vector`` has them; None for those that it refuses."""
    if not vectors:
        return []
    together = np.stack(vectors)
    sound = are_unit(together)
    return [row.tobytes() if is_sound else None for row, is_sound in zip(together.astype("<f2"), sound, strict=True)]


def are_unit(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of these vectors [n, d] are finite and of unit length, as stored ones are."""
    return np.asarray(np.abs(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) - 1) <= _UNIT_TOLERANCE)


def sound_vector(raw: bytes, width: int | None = None) -> FloatVector | None:
    """A vector from its bytes, None unless it has this width, is finite and of unit length."""
    if len(raw) % 2 or (width is not None and len(raw) != 2 * width):
        return None
    fv = decode_vector(raw)
    with np.errstate(invalid="ignore"):  # a signalling NaN, which NumPy warns of
        length = float(np.linalg.norm(fv))
    return fv if abs(length - 1) <= 10 * _UNIT_TOLERANCE else None


def decode_vector(raw: bytes) -> FloatVector:
    """A vector from its bytes, as float32."""
    return np.frombuffer(raw, "<f2").astype(np.float32)


def encode_json(value: Any) -> bytes:
    """A plain JSON value. Raises TypeError or ValueError for any other."""
    return _as_json(value).encode("ascii")


def sound_json(raw: bytes | None) -> Any:
    """A plain JSON value from its bytes; None without any, for other bytes, and for null, which is never stored."""
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None

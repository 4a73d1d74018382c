"""Values: how rows become bytes. FORMAT.md has the bytes; a change to any of them is a new schema number.

Records are MessagePack arrays (msgspec): small, fast, readable by other languages. Values of callers are JSON, ASCII
only: its escapes keep even lone surrogates, which os.fsdecode makes of bytes that are not UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from shazimd.errors import StoreDamaged
from shazimd.types import ContentId, Digest, FileRow, FileState, Fingerprint, FloatVector, Query, Signals, Stat

_SURROGATES = "surrogatepass"
_UNIT_TOLERANCE = 1e-3
"""Rounding to float32 or float16 stays well inside; a vector without normalisation does not."""


class FileRecord(Struct, frozen=True, array_like=True):
    """One file: its stat, its content (0 for a failed file) and the reason of the failure (UTF-8)."""

    size: int
    mtime_ns: int
    inode: int
    content: ContentId
    reason: bytes
    ctime_ns: int = 0
    """missing in rows written before it was recorded"""
    since: int = 0
    """likewise; 0 for an indexed file"""


class ContentRecord(Struct, frozen=True, array_like=True):
    """One content, without its vectors and its local features."""

    digest: Digest
    ah: int | None
    dh: int | None
    width: int
    height: int
    format: str
    pixels: bytes | None
    low_information: bool
    features_version: int = 0
    turned: bytes = b""
    """8 bytes each, big-endian: average hash and difference hash of the 7 other orientations; missing in rows written
    before these were kept"""
    damaged: bool = False
    """likewise"""


class ModelRecord(Struct, frozen=True, array_like=True):
    """One model: its number in keys, the width and the count of its vectors."""

    number: int
    width: int
    vectors: int


class SignalsRecord(Struct, frozen=True, array_like=True):
    """The signals of one orientation."""

    ah: int | None
    dh: int | None
    fv: bytes | None


class PendingAlertRecord(Struct, frozen=True, array_like=True):
    """A pending alert: the signals of the file's picture first, then those of each orientation.

    The content has a digest if only matches on other hosts are still to be looked for."""

    path: bytes
    content: ContentRecord
    model: str | None
    signals: list[SignalsRecord]
    features: bytes
    asked_features: bytes


R = TypeVar("R", bound=Struct)

encode = msgspec.msgpack.Encoder().encode


def decode(raw: bytes, kind: type[R]) -> R:
    """A record from its bytes. Raises StoreDamaged."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreDamaged(f"a record is {raw[:40]!r}, expected a {kind.__name__}: {error}") from error


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
    """A file's row from its bytes. Raises StoreDamaged."""
    record = decode(raw, FileRecord)
    stat = Stat(record.size, record.mtime_ns, record.inode, record.ctime_ns)
    state = FileState.INDEXED if record.content else FileState.FAILED
    reason = _text(record.reason)
    return FileRow(stat, state, record.content or None, reason, record.since)


def is_failed(raw: bytes) -> bool:
    """Whether a file's row is that of a failed file. Raises StoreDamaged."""
    return not decode(raw, FileRecord).content


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", _SURROGATES)
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"a record has the bytes {raw[:40]!r}, expected UTF-8") from error


def features_version(features: bytes) -> int:
    """The version of the code that made packed local features, their first byte; 0 for no features."""
    return features[0] if features else 0


def of_version(features: bytes, version: int | None) -> bytes:
    """The features if they are of this version (None: of any), else none."""
    return features if version in (None, features_version(features)) else b""


def to_record(digest: Digest, fingerprint: Fingerprint) -> ContentRecord:
    """A fingerprint without its vector and its local features, which have tables of their own."""
    f = fingerprint
    return ContentRecord(
        digest,
        f.signals.ah,
        f.signals.dh,
        f.width,
        f.height,
        f.format,
        f.pixels or None,
        f.low_information,
        features_version(f.features),
        encode_turned(f.turned),
        f.damaged,
    )


def to_fingerprint(record: ContentRecord, fv: FloatVector | None, model: str | None, features: bytes) -> Fingerprint:
    """A fingerprint from the rows of a content."""
    return Fingerprint(
        signals=Signals(record.ah, record.dh, fv),
        model=None if fv is None else model,
        width=record.width,
        height=record.height,
        format=record.format,
        pixels=record.pixels,
        low_information=record.low_information,
        features=features,
        turned=_decode_turned(record.turned),
        damaged=record.damaged,
    )


def encode_turned(turned: Sequence[tuple[int, int]]) -> bytes:
    """The hashes of the other orientations, as in ``ContentRecord``."""
    return b"".join(each.to_bytes(8, "big") for pair in turned for each in pair)


def _decode_turned(raw: bytes) -> tuple[tuple[int, int], ...]:
    hashes = [int.from_bytes(raw[start : start + 8], "big") for start in range(0, len(raw), 8)]
    return tuple(zip(hashes[::2], hashes[1::2], strict=True))


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


def decode_pending_alert(raw: bytes, version: int | None) -> PendingNote:
    """A pending alert, with features of one version. Raises StoreDamaged."""
    record = decode(raw, PendingAlertRecord)
    own, *orientations = (_from_signals_record(signals) for signals in record.signals)
    fingerprint = to_fingerprint(record.content, own.fv, record.model, of_version(record.features, version))
    query = Query(fingerprint, tuple(orientations), of_version(record.asked_features, version))
    return PendingNote(record.path, query, record.content.digest)


def _to_signals_record(signals: Signals) -> SignalsRecord:
    return SignalsRecord(signals.ah, signals.dh, None if signals.fv is None else encode_vector(signals.fv))


def _from_signals_record(record: SignalsRecord) -> Signals:
    return Signals(record.ah, record.dh, None if record.fv is None else decode_vector(record.fv))


def encode_vector(fv: FloatVector) -> bytes:
    """A vector as float16, little-endian. Raises ValueError unless one-dimensional, finite and of unit length."""
    length = float(np.linalg.norm(fv)) if fv.ndim == 1 else float("nan")
    if not abs(length - 1) <= _UNIT_TOLERANCE:
        raise ValueError(f"fv has shape {fv.shape} and length {length:.4f}, expected [d] and length 1")
    return fv.astype("<f2").tobytes()


def decode_vector(raw: bytes) -> FloatVector:
    """A vector from its bytes, as float32."""
    return np.frombuffer(raw, "<f2").astype(np.float32)


def encode_json(value: Any) -> bytes:
    """A plain JSON value. Raises TypeError or ValueError for any other."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_json(raw: bytes) -> Any:
    """A plain JSON value from its bytes. Raises StoreDamaged."""
    try:
        return json.loads(raw)
    except ValueError as error:
        raise StoreDamaged(f"a record is {raw[:40]!r}, expected JSON: {error}") from error

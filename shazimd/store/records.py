"""Values: how rows become bytes. FORMAT.md has the bytes; a change to any of them is a new schema number.

Records are MessagePack arrays (msgspec): small, fast, readable by other languages. What the caller may fill with
anything is JSON with all but ASCII escaped, which keeps even lone surrogates, as os.fsdecode makes them.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from shazimd.errors import StoreDamaged
from shazimd.types import ContentId, Digest, FileRow, FileState, Fingerprint, FloatVector, Query, Signals, Stat

_SURROGATES = "surrogatepass"
_UNIT_TOLERANCE = 1e-3
"""Rounding to float32 or float16 stays well inside; a vector that was never normalised does not."""


class FileRecord(Struct, frozen=True, array_like=True):
    """One file: its stat, the content it holds (0 when it failed) and the reason why it failed (UTF-8)."""

    size: int
    mtime_ns: int
    inode: int
    content: ContentId
    reason: bytes


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


class ModelRecord(Struct, frozen=True, array_like=True):
    """One model: the number it has in keys, the width of its vectors and how many there are."""

    number: int
    width: int
    vectors: int


class SignalsRecord(Struct, frozen=True, array_like=True):
    """The signals of one orientation."""

    ah: int | None
    dh: int | None
    fv: bytes | None


class UntoldRecord(Struct, frozen=True, array_like=True):
    """A file whose alert is still to be decided: its own signals first, then those of each orientation."""

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
    except msgspec.MsgspecError as error:
        raise StoreDamaged(f"a record is {raw[:40]!r}, expected a {kind.__name__}: {error}") from error


def encode_file(row: FileRow) -> bytes:
    """The bytes of a file's row. Raises ValueError when its state and content contradict each other."""
    if (row.state is FileState.INDEXED) != (row.content is not None):
        raise ValueError(f"file is {row.state} with content {row.content}, expected one exactly when it is indexed")
    return encode(FileRecord(*row.stat, row.content or 0, row.reason.encode("utf-8", _SURROGATES)))


def decode_file(raw: bytes) -> FileRow:
    """A file's row from its bytes. Raises StoreDamaged."""
    record = decode(raw, FileRecord)
    stat = Stat(record.size, record.mtime_ns, record.inode)
    state = FileState.INDEXED if record.content else FileState.FAILED
    return FileRow(stat, state, record.content or None, record.reason.decode("utf-8", _SURROGATES))


def encode_content(digest: Digest, fingerprint: Fingerprint) -> bytes:
    """The bytes of a content's record."""
    return encode(to_record(digest, fingerprint))


def to_record(digest: Digest, fingerprint: Fingerprint) -> ContentRecord:
    """A fingerprint without its vector and its local features, which are kept elsewhere."""
    f = fingerprint
    return ContentRecord(
        digest, f.signals.ah, f.signals.dh, f.width, f.height, f.format, f.pixels or None, f.low_information
    )


def to_fingerprint(record: ContentRecord, fv: FloatVector | None, model: str | None, features: bytes) -> Fingerprint:
    """A fingerprint put together again."""
    return Fingerprint(
        signals=Signals(record.ah, record.dh, fv),
        model=None if fv is None else model,
        width=record.width,
        height=record.height,
        format=record.format,
        pixels=record.pixels,
        low_information=record.low_information,
        features=features,
    )


def encode_untold(path: bytes, query: Query) -> bytes:
    """The bytes of a note."""
    f = query.fingerprint
    return encode(
        UntoldRecord(
            path,
            to_record(b"", f),
            f.model,
            [_to_signals_record(signals) for signals in (f.signals, *query.orientations)],
            f.features,
            query.features,
        )
    )


def decode_untold(raw: bytes) -> tuple[bytes, Query]:
    """A note's path and query from its bytes. Raises StoreDamaged."""
    record = decode(raw, UntoldRecord)
    own, *orientations = (_from_signals_record(signals) for signals in record.signals)
    fingerprint = to_fingerprint(record.content, own.fv, record.model, record.features)
    return record.path, Query(fingerprint, tuple(orientations), record.asked_features)


def _to_signals_record(signals: Signals) -> SignalsRecord:
    return SignalsRecord(signals.ah, signals.dh, None if signals.fv is None else encode_vector(signals.fv))


def _from_signals_record(record: SignalsRecord) -> Signals:
    return Signals(record.ah, record.dh, None if record.fv is None else decode_vector(record.fv))


def encode_vector(fv: FloatVector) -> bytes:
    """A vector as float16, little-endian. Raises ValueError unless it is one-dimensional, finite and of unit length."""
    length = float(np.linalg.norm(fv)) if fv.ndim == 1 else float("nan")
    if not abs(length - 1) <= _UNIT_TOLERANCE:
        raise ValueError(f"fv has shape {fv.shape} and length {length:.4f}, expected [d] and length 1")
    return fv.astype("<f2").tobytes()


def decode_vector(raw: bytes) -> FloatVector:
    """A vector from its bytes: float32, each number exactly the float16 that was kept."""
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

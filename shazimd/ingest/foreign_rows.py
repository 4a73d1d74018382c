"""The rows of other hosts as they come from a network: each is checked by itself.

A bad row is refused without holding up the others. Local features are checked without a decoder, like those of a
worker's reply; their small pictures are decoded by workers alone, when they are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from shazimd.errors import BadInput
from shazimd.fingerprint import Fingerprint, FloatVector, Signals
from shazimd.protocol.cluster import RefusedRow
from shazimd.protocol.groups import HexDigest
from shazimd.store import keys
from shazimd.store.records import are_unit, check_turned, decode_turned, upright
from shazimd.text import printable
from shazimd.types import UNDECODABLE, Digest, decodable
from shazimd.words.packing import VERSION, check_packed

PIXELS_MAX = (1 << 32) - 1
WIDTH_MAX = 8192

Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Size = Annotated[int, Meta(ge=1, le=PIXELS_MAX)]
Whole = Annotated[int, Meta(ge=0, lt=1 << 62)]
R = TypeVar("R", bound=Struct)


class ForeignFile(Struct, frozen=True, kw_only=True):
    """A file as it is on its host."""

    path: str
    path_b64: bytes = b""
    content: HexDigest
    made: str
    size_bytes: Whole
    mtime_ns: Annotated[int, Meta(gt=-(1 << 62), lt=1 << 62)]
    since: Whole = 0
    """the cluster's number of the transaction in which the host told of this content first; 0: before all others"""


class ForeignContent(Struct, frozen=True, kw_only=True):
    """A fingerprint, as ``protocol.FingerprintMessage`` has it."""

    content: HexDigest
    made: Annotated[str, Meta(max_length=300)]
    width: Size
    height: Size
    format: Annotated[str, Meta(min_length=1, max_length=32)]
    ah: Hex64 | None
    dh: Hex64 | None
    pixels: Annotated[bytes, Meta(min_length=16, max_length=64)] | None
    low_information: bool
    turned: bytes
    features: Annotated[bytes, Meta(max_length=1 << 18)]
    """some 6 kB; a page some more"""
    model: Annotated[str, Meta(min_length=1, max_length=250)] | None
    vector: bytes | None
    damaged: bool = False


class ForeignBatch(Struct, frozen=True, kw_only=True):
    """The body of a PUT, in JSON with bytes in base64, or in MessagePack. Rows are decoded one by one."""

    put: list[msgspec.Raw] = []
    remove: list[msgspec.Raw] = []
    contents: list[msgspec.Raw] = []


class _Removed(Struct, frozen=True, kw_only=True):
    path: str
    path_b64: bytes = b""


class SoundRows(NamedTuple):
    put: dict[bytes, ForeignFile]
    """by their paths in the store"""
    remove: list[bytes]
    contents: dict[Digest, Fingerprint]
    refused: list[RefusedRow]


class Checker:
    """Reads batches of rows."""

    def __init__(self, *, packed: bool, features: bool) -> None:
        """``packed``: in MessagePack rather than JSON. ``features``: local features are kept here."""
        self._decode: Any = msgspec.msgpack.decode if packed else msgspec.json.decode
        self._empty = b"\x80" if packed else b"{}"
        self._features = features

    def sound(self, root: bytes, body: bytes) -> SoundRows:
        """The sound rows of a batch, of files below ``root``. Raises BadInput for another body."""
        try:
            batch = self._decode(body or self._empty, type=decodable(ForeignBatch))
        except UNDECODABLE as error:
            raise BadInput(f"the body is no batch of files: {error}") from error
        rows = SoundRows({}, [], {}, [])
        given = [content for raw in batch.contents if (content := self._decoded(raw, ForeignContent, rows.refused))]
        vectors = _unit_vectors(content.vector for content in given)
        for content in given:
            try:
                rows.contents[bytes.fromhex(content.content)] = self._fingerprint(content, vectors)
            except ValueError as error:
                rows.refused.append(refusal(content.content.encode(), str(error)))
        for raw in batch.put:
            if (file := self._decoded(raw, ForeignFile, rows.refused)) and (path := _path(root, file, rows.refused)):
                rows.put[path] = file
        for raw in batch.remove:
            if (gone := self._decoded(raw, _Removed, rows.refused)) and (path := _path(root, gone, rows.refused)):
                rows.remove.append(path)
        return rows

    def _decoded(self, raw: msgspec.Raw, kind: type[R], refused: list[RefusedRow]) -> R | None:
        try:
            row: R = self._decode(raw, type=decodable(kind))
        except UNDECODABLE as error:
            refused.append(refusal(bytes(raw)[:100], str(error)))
            return None
        return row

    def _fingerprint(self, given: ForeignContent, vectors: Mapping[bytes, FloatVector]) -> Fingerprint:
        """``vectors``: those of unit length, by their bytes. Raises ValueError for values that no picture has."""
        check_turned(given.turned)
        is_usable = self._features and given.features[:1] == bytes([VERSION])
        features = given.features if is_usable else b""
        check_packed(features)
        fv = None
        if given.model is not None and given.vector is not None:
            fv = vectors.get(given.vector)
            if fv is None:
                expected = f"one of length 1 in 1 to {WIDTH_MAX} numbers of 2 bytes"
                raise ValueError(f"vector is of {len(given.vector)} bytes, expected {expected}")
        signals = Signals(upright(_hash(given.ah), _hash(given.dh), given.turned), fv)
        return Fingerprint(
            signals=signals,
            model=None if signals.fv is None else given.model,
            width=given.width,
            height=given.height,
            format=given.format,
            pixels=given.pixels,
            low_information=given.low_information,
            features=features,
            turned=decode_turned(given.turned),
            damaged=given.damaged,
        )


def refusal(row: bytes, reason: str) -> RefusedRow:
    return {"row": printable(row.decode(errors="replace")), "reason": printable(reason)}


def _path(root: bytes, row: ForeignFile | _Removed, refused: list[RefusedRow]) -> bytes | None:
    """The path of a file in the store, below the root of its host and nowhere else."""
    own = row.path_b64 or row.path.encode(errors="replace")
    reason = f"path is {own!r}, expected an absolute one"
    if own.startswith(b"/"):
        try:
            keys.split_file(root[:-1] + own)
        except ValueError as error:
            reason = str(error)
        else:
            return root[:-1] + own
    refused.append(refusal(own[:100], reason))
    return None


def _hash(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _unit_vectors(given: Iterable[bytes | None]) -> dict[bytes, FloatVector]:
    """The vectors of unit length by their bytes, float16; all of a width are computed at once."""
    of_length: defaultdict[int, list[bytes]] = defaultdict(list)
    for raw in dict.fromkeys(given):
        if raw and not len(raw) % 2 and len(raw) <= 2 * WIDTH_MAX:
            of_length[len(raw)].append(raw)
    found: dict[bytes, FloatVector] = {}
    for raws in of_length.values():
        together = np.frombuffer(b"".join(raws), "<f2").reshape(len(raws), -1).astype(np.float32)
        for raw, fv, is_unit in zip(raws, together, are_unit(together), strict=True):
            if is_unit:
                found[raw] = fv
    return found

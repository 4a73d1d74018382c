"""The files of other hosts in the store: written as a link brings them, and found by every search like the files here.

A file of the host ``nas`` has the path ``nas:/srv/ski.jpg``, a content like any other, and no file on this disk. Rows
come from a network: each is checked by itself, and a bad row is refused and logged without holding up the others. The
ctime of a foreign file's row is the cluster's number of the transaction that told of its content first, 0 for those
that were there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, islice
from typing import Annotated, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import structlog
from msgspec import Meta, Struct

from shazimd.errors import BadInput, WorkerFailed
from shazimd.ingest.commit import Committer
from shazimd.ingest.values import followed_hosts, set_followed_hosts
from shazimd.protocol import PathFields
from shazimd.protocol.cluster import ForeignHost, ForeignReply, RefusedRow
from shazimd.search.library import Library
from shazimd.store import keys
from shazimd.store.base import Reader, Writer
from shazimd.text import path_fields, printable
from shazimd.types import ContentId, Digest, FileRow, FileState, Fingerprint, FloatVector, Signals, Stat
from shazimd.words.packing import VERSION, check_packed

log = structlog.get_logger()

Comparable = Callable[[Sequence[bytes]], Future[list[bool]]]
"""Has a worker look whether local features can be compared."""
AT_ONCE = 64
"""Features looked at in a job, some 30 ms."""
BATCH = 256
"""Files removed in one transaction."""
ORIENTATIONS = 7
PIXELS_MAX = 1 << 32
UNIT_TOLERANCE = 1e-3  # as that of the store
WIDTH_MAX = 8192

Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
HexDigest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
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
    format: Annotated[str, Meta(min_length=1, max_length=40)]
    ah: Hex64 | None
    dh: Hex64 | None
    pixels: Annotated[bytes, Meta(max_length=64)] | None
    low_information: bool
    turned: bytes
    features: Annotated[bytes, Meta(max_length=1 << 18)]
    """some 6 kB; a page some more"""
    model: Annotated[str, Meta(min_length=1, max_length=250)] | None
    vector: bytes | None


class ForeignBatch(Struct, frozen=True, kw_only=True):
    """The body of a PUT. Rows are decoded one by one."""

    put: list[msgspec.Raw] = []
    remove: list[msgspec.Raw] = []
    contents: list[msgspec.Raw] = []


class _Removed(Struct, frozen=True, kw_only=True):
    path: str
    path_b64: bytes = b""


class _SoundRows(NamedTuple):
    put: dict[bytes, ForeignFile]
    remove: list[bytes]
    contents: dict[Digest, Fingerprint]


class ForeignFiles:
    def __init__(
        self, library: Library, committer: Committer, own_host: str | None, comparable: Comparable | None
    ) -> None:
        """``comparable``: None if local features are not used here."""
        self._comparable = comparable
        self._library = library
        self._committer = committer
        self._own_host = own_host

    def put(self, host: str, body: bytes, position: str | None, *, complete: bool) -> ForeignReply:
        """Write and remove files of a host, and the position that the link has reached with them, in one transaction.

        Nothing is written, and the lacking contents are named, if files have contents that are neither known nor given;
        with ``complete`` such files are refused. Doing it again changes nothing. Raises BadInput for another body."""
        root = self._root(host)
        try:
            batch = msgspec.json.decode(body or b"{}", type=ForeignBatch)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"the body is no batch of files: {error}") from error
        refused: list[RefusedRow] = []
        rows = self._checked(root, batch, refused)
        if not complete and (missing := self._missing(rows)):
            return {"missing": missing, "refused": []}
        work = partial(_write, rows=rows, host=host, position=position)
        unknown = self._committer.submit(work, self._index).result().unknown
        refused += [_refusal(path, "its content is neither known nor given") for path in unknown]
        for each in refused:
            log.warning("foreign_row_refused", host=host, row=each["row"], reason=each["reason"])
        log.debug("foreign_files", host=host, files=len(rows.put), removed=len(rows.remove), position=position)
        return {"missing": [], "refused": refused}

    def hosts(self) -> list[ForeignHost]:
        """The hosts whose files are known, with the position that the link reached."""
        with self._library.store.read() as reader:
            return [{"host": host, "position": position} for host, position in sorted(followed_hosts(reader).items())]

    def paths(self, host: str, after: bytes | None, limit: int) -> list[PathFields]:
        """Files of a host, from a path on; without the name of the host."""
        root = self._root(host)
        start = None if after is None else root[:-1] + after
        with self._library.store.read() as reader:
            paths = [path for path, _ in islice(reader.walk(root, after=start), limit)]
        return [cast(PathFields, path_fields(path[len(root) - 1 :])) for path in paths]

    def forget(self, host: str) -> int:
        """Remove all files of a host; their number. Contents that no other file has stay for their grace."""
        root, total = self._root(host), 0
        while removed := self._committer.submit(partial(_remove_some, root=root)).result():
            total += removed
        self._committer.submit(partial(_unfollow, host=host)).result()
        log.info("foreign_host_forgotten", host=host, files=total)
        return total

    def _root(self, host: str) -> bytes:
        root = host.encode(errors="replace") + b":/"
        if keys.root_of(root) != root or host == self._own_host:
            raise BadInput(f'host is "{printable(host)}", expected the name of another host, in a-z, 0-9, "." and "-"')
        return root

    def _checked(self, root: bytes, batch: ForeignBatch, refused: list[RefusedRow]) -> _SoundRows:
        """The rows that are sound; the others are added to ``refused``."""
        rows = _SoundRows({}, [], {})
        for raw in batch.contents:
            if content := _decoded(raw, ForeignContent, refused):
                try:
                    rows.contents[bytes.fromhex(content.content)] = self._fingerprint(content)
                except ValueError as error:
                    refused.append(_refusal(content.content.encode(), str(error)))
        for digest in self._incomparable(rows.contents):
            del rows.contents[digest]
            refused.append(_refusal(digest.hex().encode(), "its local features can't be compared"))
        for raw in batch.put:
            if (file := _decoded(raw, ForeignFile, refused)) and (path := _path(root, file, refused)):
                rows.put[path] = file
        for raw in batch.remove:
            if (gone := _decoded(raw, _Removed, refused)) and (path := _path(root, gone, refused)):
                rows.remove.append(path)
        return rows

    def _fingerprint(self, given: ForeignContent) -> Fingerprint:
        """Raises ValueError for values that no picture has."""
        if len(given.turned) % 16 or len(given.turned) > 16 * ORIENTATIONS:
            raise ValueError(f"turned has {len(given.turned)} bytes, expected 16 for each of at most {ORIENTATIONS}")
        hashes = [int.from_bytes(given.turned[at : at + 8]) for at in range(0, len(given.turned), 8)]
        is_usable = self._comparable is not None and given.features[:1] == bytes([VERSION])
        features = given.features if is_usable else b""
        check_packed(features)
        signals = Signals(_hash(given.ah), _hash(given.dh), _vector(given))
        return Fingerprint(
            signals=signals,
            model=None if signals.fv is None else given.model,
            width=given.width,
            height=given.height,
            format=given.format,
            pixels=given.pixels or None,
            low_information=given.low_information,
            features=features,
            turned=tuple(zip(hashes[::2], hashes[1::2], strict=True)),
        )

    def _incomparable(self, contents: Mapping[Digest, Fingerprint]) -> list[Digest]:
        """Contents whose local features would end a comparison in an error: a worker looks at each."""
        if self._comparable is None:
            return []
        digests = [digest for digest, fingerprint in contents.items() if fingerprint.features]
        parts = [digests[start : start + AT_ONCE] for start in range(0, len(digests), AT_ONCE)]
        jobs = [(part, self._comparable([contents[digest].features for digest in part])) for part in parts]
        looked_at = [self._answers(job, [contents[digest].features for digest in part]) for part, job in jobs]
        return [digest for digest, good in zip(digests, chain(*looked_at), strict=True) if not good]

    def _answers(self, job: Future[list[bool]], features: Sequence[bytes]) -> list[bool]:
        """For each of the features whether it is good: those that a worker fails at are not."""
        assert self._comparable is not None
        try:
            return job.result()
        except WorkerFailed as error:
            if len(features) == 1:
                log.warning("foreign_features_failed", code=error.code, reason=str(error))
                return [False]
        return [good for each in features for good in self._answers(self._comparable([each]), [each])]

    def _missing(self, rows: _SoundRows) -> list[str]:
        """Contents of files that are neither known nor given, or were made by others since."""
        wanted = {bytes.fromhex(file.content): file.made for file in rows.put.values()}
        with self._library.store.read() as reader:
            return [
                digest.hex()
                for digest, made in wanted.items()
                if digest not in rows.contents
                and ((content := reader.content(digest)) is None or _lacks(reader, content, made))
            ]

    def _index(self, written: _Applied) -> None:
        for content, fingerprint, is_new in written.contents:
            (self._library.add if is_new else self._library.replace)(content, fingerprint)


def begin_sharing(writer: Writer, is_shared: bool) -> None:
    """Number the changes of this host's files from now on for others to follow, or end it."""
    if is_shared:
        writer.changes.begin(os.urandom(8).hex())
    else:
        writer.changes.end()


class _Applied(NamedTuple):
    contents: list[tuple[ContentId, Fingerprint, bool]]
    """each with its fingerprint, and whether it is new"""
    unknown: list[bytes]
    """files whose content is unknown"""


def _write(writer: Writer, rows: _SoundRows, host: str, position: str | None) -> _Applied:
    written = _Applied([], [])
    for path, file in rows.put.items():
        digest = bytes.fromhex(file.content)
        content = writer.content(digest)
        fingerprint = rows.contents.get(digest)
        if content is None and fingerprint is None:
            written.unknown.append(path)
            continue
        if fingerprint is not None and (content is None or _lacks(writer, content, file.made)):
            written.contents.append(_put_content(writer, digest, content, fingerprint))
        row = FileRow(Stat(file.size_bytes, file.mtime_ns, 0, file.since), FileState.INDEXED, writer.content(digest))
        if writer.file(path) != row:
            writer.put_file(path, row)
    for path in rows.remove:
        writer.remove_file(path)
    hosts = followed_hosts(writer)
    if position is not None or host not in hosts:
        set_followed_hosts(writer, {**hosts, host: position})
    return written


def _put_content(
    writer: Writer, digest: Digest, known: ContentId | None, fingerprint: Fingerprint
) -> tuple[ContentId, Fingerprint, bool]:
    if known is None:
        return writer.add_content(digest, fingerprint, related=False), fingerprint, True
    if fingerprint.features:
        writer.put_features(known, fingerprint.features, fingerprint.turned)
        writer.relations.unmark([known])
    if fingerprint.model is not None and fingerprint.signals.fv is not None:
        writer.put_vector(known, fingerprint.model, fingerprint.signals.fv)
    return known, fingerprint, False


def _lacks(reader: Reader, content: ContentId, made: str) -> bool:
    """Whether a content that only other hosts have was fingerprinted in another way than ``made`` says."""
    version, _, model = made.partition("/")
    found, has_vector = reader.made(content, model or None)
    is_as_made = version == str(found) and (has_vector or not model)
    return not is_as_made and not reader.count_files(content, 1)


def _unfollow(writer: Writer, host: str) -> None:
    set_followed_hosts(writer, {name: at for name, at in followed_hosts(writer).items() if name != host})


def _remove_some(writer: Writer, root: bytes) -> int:
    paths = [path for path, _ in islice(writer.walk(root), BATCH)]
    for path in paths:
        writer.remove_file(path)
    return len(paths)


def _decoded(raw: msgspec.Raw, kind: type[R], refused: list[RefusedRow]) -> R | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        refused.append(_refusal(bytes(raw)[:100], str(error)))
        return None


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
    refused.append(_refusal(own[:100], reason))
    return None


def _refusal(row: bytes, reason: str) -> RefusedRow:
    return {"row": printable(row.decode(errors="replace")), "reason": printable(reason)}


def _hash(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _vector(given: ForeignContent) -> FloatVector | None:
    if given.vector is None or given.model is None:
        return None
    if not given.vector or len(given.vector) % 2 or len(given.vector) > 2 * WIDTH_MAX:
        raise ValueError(f"vector has {len(given.vector)} bytes, expected 2 for each of at most {WIDTH_MAX} numbers")
    fv = np.frombuffer(given.vector, "<f2").astype(np.float32)
    length = float(np.linalg.norm(fv))
    if not abs(length - 1) <= UNIT_TOLERANCE:
        raise ValueError(f"vector has length {length:.4f}, expected 1")
    return fv

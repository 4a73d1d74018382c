"""Reading: one transaction's picture of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from shazimd.errors import StoreDamaged
from shazimd.store import keys, pieces, records
from shazimd.store.base import Reader
from shazimd.store.keys import NUMBER_BYTES, number, parse_number
from shazimd.store.records import ContentRecord, ModelRecord
from shazimd.store.schema import Table, Tables, Transaction, scan
from shazimd.store.tree import Tree
from shazimd.types import ContentId, Digest, FileRow, Fingerprint, FloatVector, Listing, Query, Signals

MODEL_BYTES = 2
_ROWS_BETWEEN_TRIMS = 4096


class LmdbReader(Reader):
    """Walks give the files of a directory by name, then its directories by name, each with all below it."""

    def __init__(self, txn: Transaction, tables: Tables, trim: Callable[[], None]) -> None:
        """``trim`` is called now and then in a pass over everything; it keeps resident memory small."""
        self._txn = txn
        self._t = tables
        self._tree = Tree(txn, tables)
        self._trim = trim

    def file(self, path: bytes) -> FileRow | None:
        directories, name = keys.split_file(path)
        directory = self._tree.find(directories)
        raw = None if directory is None else self._txn.get(number(directory) + name, db=self._t.files)
        return None if raw is None else records.decode_file(raw)

    def listing(self, directory: bytes) -> Listing:
        found = self._tree.find(keys.split(directory))
        if found is None:
            return Listing()
        return Listing(dict(self._files_in(found)), frozenset(name for name, _ in self._tree.children(found)))

    def walk(self, directory: bytes) -> Iterator[tuple[bytes, FileRow]]:
        for path, below in self._directories_below(directory):
            for name, row in self._files_in(below):
                yield keys.join(path, name), row

    def content(self, digest: Digest) -> ContentId | None:
        raw = self._txn.get(digest, db=self._t.digests)
        return None if raw is None else parse_number(raw)

    def digest(self, content: ContentId) -> Digest:
        return self._content(content).digest

    def contents_with_pixels(self, pixels: bytes) -> list[ContentId]:
        key_bytes = len(pixels) + NUMBER_BYTES
        rows = scan(self._txn, self._t.pixels, pixels)
        return [parse_number(key[-NUMBER_BYTES:]) for key, _ in rows if len(key) == key_bytes]

    def fingerprint(self, content: ContentId, model: str | None) -> Fingerprint:
        record = self._content(content)
        return records.to_fingerprint(record, self._vector(content, model), model, self._features(content))

    def features(self, content: ContentId) -> bytes:
        self._content(content)
        return self._features(content)

    def pixels(self, content: ContentId) -> bytes | None:
        return self._content(content).pixels

    def size_in_pixels(self, content: ContentId) -> tuple[int, int]:
        record = self._content(content)
        return record.width, record.height

    def files_of(self, content: ContentId) -> list[bytes]:
        return sorted(keys.join(self._tree.path(directory), name) for directory, name in self._holders(content))

    def signals(self, model: str | None, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals]]:
        vectors = self._vectors(model, after)
        at, fv = next(vectors, (0, None))
        for n, (content, record) in enumerate(self._contents(after)):
            if n % _ROWS_BETWEEN_TRIMS == 0:
                self._trim()
            while fv is not None and at < content:
                at, fv = next(vectors, (0, None))
            if not record.low_information:
                yield content, Signals(record.ah, record.dh, fv if at == content else None)

    def without_vector(self, model: str, after: ContentId = 0) -> Iterator[ContentId]:
        known = self._model(model)
        if known is not None and known.vectors == self._entries(self._t.contents):
            return
        for key, _ in scan(self._txn, self._t.contents, b"", number(after + 1)):
            content = parse_number(key)
            if not (known and self._has_vector(known, content)) and any(self._holders(content)):
                yield content

    def removals(self, after: int = 0) -> Iterator[tuple[int, ContentId]]:
        for key, raw in scan(self._txn, self._t.removals, b"", number(after + 1)):
            yield parse_number(key), parse_number(raw)

    def alerts(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, raw in islice(scan(self._txn, self._t.alerts, b"", number(after + 1)), limit):
            yield parse_number(key), records.decode_json(raw)

    def pending_alerts(self) -> Iterator[tuple[int, bytes, Query]]:
        for key, raw in scan(self._txn, self._t.untold, b""):
            yield parse_number(key), *records.decode_untold(raw)

    def get(self, key: str) -> Any:
        raw = self._txn.get(key.encode(), db=self._t.values)
        return None if raw is None else records.decode_json(raw)

    def counts(self) -> dict[str, int]:
        failed = self._last(b"failed")
        return {
            "images": self._entries(self._t.files) - failed,
            "contents": self._entries(self._t.contents),
            "failed": failed,
            "alerts": self._entries(self._t.alerts),
            "vectors": sum(record.vectors for _, record in self._models()),
        }

    def _entries(self, table: Table) -> int:
        return self._txn.stat(table)["entries"]

    def _last(self, name: bytes) -> int:
        """A counter: the last number given out of a kind, or how many there are."""
        raw = self._txn.get(name, db=self._t.numbers)
        return 0 if raw is None else parse_number(raw)

    def _files_in(self, directory: int) -> Iterator[tuple[bytes, FileRow]]:
        for key, raw in scan(self._txn, self._t.files, number(directory)):
            yield key[NUMBER_BYTES:], records.decode_file(raw)

    def _directories_below(self, directory: bytes) -> Iterator[tuple[bytes, int]]:
        """A directory and all below it, each before what lies in it. Paths may be too deep for recursion."""
        found = self._tree.find(keys.split(directory))
        waiting = [] if found is None else [(directory, found)]
        while waiting:
            path, at = waiting.pop()
            yield path, at
            below = [(keys.join(path, name), child) for name, child in self._tree.children(at)]
            waiting.extend(reversed(below))

    def _content(self, content: ContentId) -> ContentRecord:
        raw = self._txn.get(number(content), db=self._t.contents)
        if raw is None:
            raise KeyError(content)
        return records.decode(raw, ContentRecord)

    def _features(self, content: ContentId) -> bytes:
        return pieces.get(self._txn, self._t.features, number(content))

    def _contents(self, after: ContentId) -> Iterator[tuple[ContentId, ContentRecord]]:
        for key, raw in scan(self._txn, self._t.contents, b"", number(after + 1)):
            yield parse_number(key), records.decode(raw, ContentRecord)

    def _holders(self, content: ContentId) -> Iterator[tuple[int, bytes]]:
        """The files of a content as (directory, name)."""
        for key, _ in scan(self._txn, self._t.holders, number(content)):
            yield parse_number(key[NUMBER_BYTES:]), key[2 * NUMBER_BYTES :]

    def _model(self, model: str | None) -> ModelRecord | None:
        raw = None if model is None else self._txn.get(model.encode(), db=self._t.models)
        return None if raw is None else records.decode(raw, ModelRecord)

    def _models(self) -> Iterator[tuple[str, ModelRecord]]:
        for key, raw in scan(self._txn, self._t.models, b""):
            yield key.decode(), records.decode(raw, ModelRecord)

    def _vector(self, content: ContentId, model: str | None) -> FloatVector | None:
        known = self._model(model)
        raw = b"" if known is None else pieces.get(self._txn, self._t.vectors, vector_key(known, content))
        return records.decode_vector(raw) if raw else None

    def _has_vector(self, known: ModelRecord, content: ContentId) -> bool:
        return any(scan(self._txn, self._t.vectors, vector_key(known, content)))

    def _vectors(self, model: str | None, after: ContentId) -> Iterator[tuple[ContentId, FloatVector | None]]:
        known = self._model(model)
        if known is None:
            return
        prefix, start = model_prefix(known), vector_key(known, after + 1)
        for key, raw in pieces.values(self._txn, self._t.vectors, prefix, start):
            if len(raw) != 2 * known.width:
                raise StoreDamaged(f"a vector of {model} is {len(raw)} bytes long, expected {2 * known.width}")
            yield parse_number(key[MODEL_BYTES:]), records.decode_vector(raw)


def model_prefix(known: ModelRecord) -> bytes:
    """What the keys of a model's vectors begin with."""
    return known.number.to_bytes(MODEL_BYTES, "big")


def vector_key(known: ModelRecord, content: ContentId) -> bytes:
    return model_prefix(known) + number(content)

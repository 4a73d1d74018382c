"""Writing: one transaction's changes to the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shazimd.store import keys, pieces, records
from shazimd.store.base import Writer
from shazimd.store.keys import number
from shazimd.store.reader import LmdbReader, model_prefix, vector_key
from shazimd.store.records import ModelRecord
from shazimd.types import ContentId, Digest, FileRow, FileState, Fingerprint, FloatVector, Query


class LmdbWriter(LmdbReader, Writer):
    """A path is a file or a directory: to make it the one forgets what was known there as the other."""

    def put_file(self, path: bytes, row: FileRow) -> None:
        """Raises KeyError when its content is unknown, ValueError for a bad path or row."""
        directories, name = keys.split_file(path)
        raw = records.encode_file(row)
        if row.content is not None:
            self._content(row.content)
        self._clear(directories, name)
        self._put_row(self._make(directories), name, raw)

    def remove_file(self, path: bytes) -> bool:
        directories, name = keys.split_file(path)
        directory = self._tree.find(directories)
        if directory is None or self._take_row(directory, name) is None:
            return False
        self._tree.remove_empty(directory)
        return True

    def remove_tree(self, directory: bytes) -> int:
        removed, above = 0, keys.ROOT
        for _, below in reversed(list(self._directories_below(directory))):
            names = [name for name, _ in self._files_in(below)]
            for name in names:
                self._take_row(below, name)
            removed += len(names)
            above = self._tree.detach(below)
        self._tree.remove_empty(above)
        return removed

    def move(self, old: bytes, new: bytes) -> None:
        """Raises ValueError when ``new`` lies below ``old``."""
        if old == new:
            return
        if new.startswith(old + b"/"):
            raise ValueError(f"move of {old!r} to {new!r}, expected a place that is not below it")
        directories, name = keys.split_file(old)
        parent = self._tree.find(directories)
        if parent is None:
            return
        directory = self._tree.child(parent, name)
        if directory is not None:
            self._move_directory(directory, new)
        else:
            self._move_file(parent, name, new)

    def add_content(self, digest: Digest, fingerprint: Fingerprint) -> ContentId:
        """Raises ValueError for a vector without a model, and as ``put_vector`` does."""
        known = self.content(digest)
        if known is not None:
            return known
        content = self._next(b"content")
        key = number(content)
        self._txn.put(key, records.encode_content(digest, fingerprint), db=self._t.contents, append=True)
        self._txn.put(digest, key, db=self._t.digests)
        if fingerprint.pixels:
            self._txn.put(fingerprint.pixels + key, b"", db=self._t.pixels)
        pieces.put(self._txn, self._t.features, key, fingerprint.features)
        if fingerprint.signals.fv is not None:
            self._put_own_vector(content, fingerprint.model, fingerprint.signals.fv)
        return content

    def put_vector(self, content: ContentId, model: str, fv: FloatVector) -> None:
        """Raises KeyError for an unknown content, ValueError for a vector that is not one-dimensional, not of unit
        length, or of another width than the model's others."""
        self._content(content)
        raw = records.encode_vector(fv)
        known = self._model(model) or ModelRecord(self._next(b"model"), len(fv), 0)
        if len(fv) != known.width:
            raise ValueError(f"fv has {len(fv)} numbers, expected {known.width}, as the others of {model} have")
        key = vector_key(known, content)
        added = not self._has_vector(known, content)
        pieces.delete(self._txn, self._t.vectors, key)
        pieces.put(self._txn, self._t.vectors, key, raw)
        self._put_model(model, ModelRecord(known.number, known.width, known.vectors + added))

    def drop_vectors(self, model: str) -> None:
        known = self._model(model)
        if known is not None:
            pieces.delete(self._txn, self._t.vectors, model_prefix(known))
            self._txn.delete(model.encode(), db=self._t.models)

    def prune(self, contents: Sequence[ContentId]) -> int:
        gone = [content for content in sorted(set(contents)) if self._is_orphan(content)]
        for content in gone:
            self._remove_content(content)
            self._txn.put(number(self._next(b"removal")), number(content), db=self._t.removals, append=True)
        return len(gone)

    def add_alert(self, record: dict[str, Any]) -> int:
        alert = self._next(b"alert")
        self._txn.put(number(alert), records.encode_json(record), db=self._t.alerts, append=True)
        return alert

    def add_pending_alert(self, path: bytes, query: Query) -> int:
        note = self._next(b"untold")
        self._txn.put(number(note), records.encode_untold(path, query), db=self._t.untold)
        return note

    def remove_pending_alert(self, number: int) -> None:
        self._txn.delete(keys.number(number), db=self._t.untold)

    def set(self, key: str, value: Any) -> None:
        if value is None:
            self._txn.delete(key.encode(), db=self._t.values)
        else:
            self._txn.put(key.encode(), records.encode_json(value), db=self._t.values)

    def _next(self, kind: bytes) -> int:
        """A number never given out before for this kind."""
        return self._add(kind, 1)

    def _add(self, name: bytes, change: int) -> int:
        value = self._last(name) + change
        self._txn.put(name, number(value), db=self._t.numbers)
        return value

    def _make(self, directories: list[bytes]) -> int:
        """The number of a directory, made known with those above it as needed."""
        at = keys.ROOT
        for name in directories:
            child = self._tree.child(at, name)
            if child is None:
                self._take_row(at, name)
                child = self._next(b"directory")
                self._tree.attach(child, at, name)
            at = child
        return at

    def _clear(self, directories: list[bytes], name: bytes) -> None:
        """Forget what was known at a path as a directory."""
        if self._tree.find([*directories, name]) is not None:
            self.remove_tree(b"/" + b"/".join([*directories, name]))

    def _put_row(self, directory: int, name: bytes, raw: bytes) -> None:
        """Keep a file's row, and count it, in place of the one there was."""
        self._take_row(directory, name)
        self._txn.put(number(directory) + name, raw, db=self._t.files)
        row = records.decode_file(raw)
        if row.content is not None:
            self._txn.put(number(row.content) + number(directory) + name, b"", db=self._t.holders)
        if row.state is FileState.FAILED:
            self._add(b"failed", 1)

    def _take_row(self, directory: int, name: bytes) -> bytes | None:
        """Forget a file's row, and what counts it; None when there was none."""
        raw = self._txn.pop(number(directory) + name, db=self._t.files)
        if raw is None:
            return None
        row = records.decode_file(raw)
        if row.content is not None:
            self._txn.delete(number(row.content) + number(directory) + name, db=self._t.holders)
        if row.state is FileState.FAILED:
            self._add(b"failed", -1)
        return raw

    def _move_file(self, parent: int, name: bytes, new: bytes) -> None:
        raw = self._take_row(parent, name)
        if raw is None:
            return
        self._tree.remove_empty(parent)
        directories, new_name = keys.split_file(new)
        self._clear(directories, new_name)
        self._put_row(self._make(directories), new_name, raw)

    def _move_directory(self, directory: int, new: bytes) -> None:
        """Taken out first, so that forgetting what was at ``new`` spares it even from below there."""
        directories, name = keys.split_file(new)
        self._tree.remove_empty(self._tree.detach(directory))
        self._clear(directories, name)
        at = self._make(directories)
        self._take_row(at, name)
        self._tree.attach(directory, at, name)

    def _put_own_vector(self, content: ContentId, model: str | None, fv: FloatVector) -> None:
        if model is None:
            raise ValueError("fingerprint has a vector and no model, expected the id of the model that made it")
        self.put_vector(content, model, fv)

    def _put_model(self, model: str, record: ModelRecord) -> None:
        self._txn.put(model.encode(), records.encode(record), db=self._t.models)

    def _is_orphan(self, content: ContentId) -> bool:
        known = self._txn.get(number(content), db=self._t.contents) is not None
        return known and not any(self._holders(content))

    def _remove_content(self, content: ContentId) -> None:
        record, key = self._content(content), number(content)
        self._txn.delete(key, db=self._t.contents)
        self._txn.delete(record.digest, db=self._t.digests)
        if record.pixels:
            self._txn.delete(record.pixels + key, db=self._t.pixels)
        pieces.delete(self._txn, self._t.features, key)
        for model, known in list(self._models()):
            self._remove_vector(content, model, known)

    def _remove_vector(self, content: ContentId, model: str, known: ModelRecord) -> None:
        if self._has_vector(known, content):
            pieces.delete(self._txn, self._t.vectors, vector_key(known, content))
            self._put_model(model, ModelRecord(known.number, known.width, known.vectors - 1))

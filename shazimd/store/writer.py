"""Writing: one transaction's changes to the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice

from msgspec import structs

from shazimd.fingerprint import Fingerprint, FloatVector
from shazimd.store import keys, records
from shazimd.store.reader import vector_key
from shazimd.store.records import ContentRecord, FileRecord, ModelRecord
from shazimd.store.tables import (
    MODEL_BYTES,
    delete_all,
    get,
    number,
    parse_number,
    pop,
    put,
    put_pieces,
    raw_rows,
)
from shazimd.store.values import ValueWriter
from shazimd.types import ContentId, Digest, FileRow, FileState


class Writer(ValueWriter):
    """A write transaction: reads see its changes. All of its changes are kept, or none.

    A path is a file or a directory: writing a file removes rows of a directory at its path, and the reverse. A content
    without files stays, with the time of its deletion, until ``prune``."""

    moves_directories = False
    changes_files = False
    """whether files of this host were written"""

    def put_file(self, path: bytes, row: FileRow) -> None:
        """Write the row of a file, and rows of its directories as needed.

        Raises KeyError when its content is unknown, ValueError for a bad path or row."""
        directories, name = keys.split_file(path)
        raw = records.encode_file(row)
        if row.content is not None:
            self._content(row.content)
        self._clear(directories, name)
        self._put_row(self._make(directories), name, raw)

    def remove_file(self, path: bytes) -> bool:
        """Remove the row of one file; False for an unknown file."""
        directories, name = keys.split_file(path)
        directory = self._tree.find(directories)
        if directory is None or self._take_row(directory, name) is None:
            return False
        self._tree.remove_empty(directory)
        return True

    def remove_tree(self, directory: bytes) -> int:
        """Remove a directory and its subtree; the number of files removed."""
        removed, above = 0, keys.ROOT
        for _, below, _ in reversed(list(self._tree.below(directory))):
            names = [name for name, _ in self._files_in(below)]
            for name in names:
                self._take_row(below, name)
            removed += len(names)
            above = self._tree.detach(below)
        self._tree.remove_empty(above)
        return removed

    def move(self, old: bytes, new: bytes) -> None:
        """Rename a file, or a directory with its subtree; rows at ``new`` are removed first.

        The cost of a directory does not grow with its subtree. Does nothing when ``old`` is unknown. Raises ValueError
        when ``new`` lies below ``old``."""
        if old == new:
            return
        if new.startswith(old + b"/"):
            raise ValueError(f"move of {old!r} to {new!r}, expected a place that is not below it")
        directories, name = keys.split_file(old)
        parent = self._tree.find(directories)
        if parent is None:
            return
        directory = self._tree.child(parent, name)
        moved = self._files_at(old) if self.is_sharing else []
        if directory is not None:
            self._move_directory(directory, new)
        else:
            self._move_file(parent, name, new)
        for path in (*(new + path[len(old) :] for path in moved), *moved):  # a follower must not see them gone first
            self.changes.note(path)

    def add_content(
        self, digest: Digest, fingerprint: Fingerprint, *, related: bool = True, held: bool = False
    ) -> ContentId:
        """Add a content; a known digest keeps its id, and nothing changes unless its row is unsound or it lacks local
        features. ``related``: its relations are to be found. ``held``: the caller writes a file of it in this
        transaction.

        Raises ValueError for a vector without a model, and as ``put_vector`` does; then nothing was written."""
        raw = get(self._txn, self._t.digests, digest)
        if raw is not None:
            known = parse_number(raw)
            is_mended = self.mend_content(known, digest, fingerprint)
            if not is_mended and fingerprint.features and not self._content(known).features_version:
                self.put_features(known, fingerprint.features, fingerprint)
            return known
        content = self._next(b"content")
        self._write_content(content, digest, fingerprint, related=related)
        if not held:
            self._mark_deleted(content)
        return content

    def mend_content(self, content: ContentId, digest: Digest, fingerprint: Fingerprint) -> bool:
        """Write an unsound content anew, with all that is derived from it; False for a sound one. Its files stay."""
        if not self.unsound.fault(content):
            return False
        self.unsound.forget_names(content)
        self._forget_derived(content)
        self._write_content(content, digest, fingerprint, related=True)
        self._note_content(content)
        return True

    def _write_content(self, content: ContentId, digest: Digest, fingerprint: Fingerprint, *, related: bool) -> None:
        key = number(content)
        record = records.encode(records.to_record(digest, fingerprint))
        if reason := records.fault(record, ContentRecord):
            raise ValueError(f"a content can't be stored: {reason}")
        if fingerprint.signals.fv is not None:
            if fingerprint.model is None:
                raise ValueError("fingerprint has a vector and no model, expected the id of the model that made it")
            self._write_vector(content, fingerprint.model, fingerprint.signals.fv)
        put(self._txn, self._t.contents, key, record, append=not self.unsound.is_kept(content))
        put(self._txn, self._t.digests, digest, key)
        if fingerprint.pixels:
            put(self._txn, self._t.pixels, fingerprint.pixels + key, b"")
        put_pieces(self._txn, self._t.features, key, fingerprint.features)
        if fingerprint.features and related:
            self.relations.mark(content)

    def put_vector(self, content: ContentId, model: str, fv: FloatVector) -> None:
        """Store the vector of one model, as float16.

        Raises KeyError for an unknown content, ValueError for a vector with more than one dimension, of another length
        than 1, or of another width than the model's others."""
        self._content(content)
        self._write_vector(content, model, fv)
        self._note_content(content)

    def _write_vector(self, content: ContentId, model: str, fv: FloatVector) -> None:
        raw = records.encode_vector(fv)
        known = self._model(model) or ModelRecord(self._next(b"model"), len(fv), 0)
        if len(fv) != known.width:
            raise ValueError(f"fv has {len(fv)} numbers, expected {known.width}, as the others of {model} have")
        key = vector_key(known, content)
        added = not self._has_vector(known, content)
        if not added:
            delete_all(self._txn, self._t.vectors, key)
        put_pieces(self._txn, self._t.vectors, key, raw)
        self._put_model(model, ModelRecord(known.number, known.width, known.vectors + added))

    def put_features(self, content: ContentId, features: bytes, fingerprint: Fingerprint | None = None) -> None:
        """Replace the local features of a content; empty ones are ``outdated``. Its relations, judged by the former
        features, are outdated, and removed if there are no features. The hashes of ``fingerprint``, and whether it is
        damaged, replace the content's, if given. Raises KeyError when unknown."""
        record, key = self._content(content), number(content)
        if features:
            self.relations.outdate(content)
        else:
            self.relations.forget(content)
        delete_all(self._txn, self._t.features, key)
        put_pieces(self._txn, self._t.features, key, features)
        record = structs.replace(record, features_version=records.features_version(features))
        if fingerprint is not None:
            ah, dh, turned = records.encode_hashes(fingerprint.oriented_hashes)
            record = structs.replace(record, ah=ah, dh=dh, turned=turned, damaged=fingerprint.damaged)
        put(self._txn, self._t.contents, key, records.encode(record))
        self._note_content(content)

    def drop_vectors_except(self, model: str, limit: int) -> bool:
        """Drop at most ``limit`` vectors of other models; True if there may be more."""
        for other, known in [(name, record) for name, record in self._models() if name != model]:
            rows = raw_rows(self._txn, self._t.vectors, known.prefix)
            contents = dict.fromkeys(parse_number(key[MODEL_BYTES:]) for key, _ in islice(rows, limit))
            for content in contents:
                delete_all(self._txn, self._t.vectors, vector_key(known, content))
            if contents:
                self._put_model(other, ModelRecord(known.number, known.width, known.vectors - len(contents)))
                return True
            self._txn.delete(other.encode(), db=self._t.models)
        return False

    def prune(self, contents: Sequence[ContentId]) -> int:
        """Remove those of these contents without a file, with everything derived from them and their pending alerts.

        The number of removed contents; each is listed by ``removals`` from now on."""
        gone = [content for content in sorted(set(contents)) if self._is_orphan(content)]
        for content in gone:
            self._remove_content(content)
            put(self._txn, self._t.removals, number(self._next(b"removal")), number(content), append=True)
        if gone:
            self._drop_pending_alerts()
        return len(gone)

    def forget_removals(self) -> None:
        """List no removed contents any more: no index has them. Numbers go on."""
        self._txn.drop(self._t.removals, delete=False)

    def _make(self, directories: list[bytes]) -> int:
        """The number of a directory, added with its parents as needed."""
        if (known := self._tree.find(directories)) is not None:
            return known
        at = keys.FOREIGN if keys.is_below_host(directories) else keys.ROOT
        for name in directories:
            child = self._tree.child(at, name)
            if child is None:
                self._take_row(at, name)
                child = self._next(b"directory") | (at & keys.FOREIGN)
                self._tree.attach(child, at, name)
            at = child
        return at

    def _clear(self, directories: list[bytes], name: bytes) -> None:
        """Remove any directory at a path."""
        parent = self._tree.find(directories)
        if parent is not None and self._tree.child(parent, name) is not None:
            self.remove_tree(keys.joined([*directories, name]))

    def _put_row(self, directory: int, name: bytes, raw: bytes) -> None:
        """Write a file's row and its counts, in place of any other."""
        self._take_row(directory, name)
        row = records.decode_file(raw)
        self._count_row(directory, name, 1, row.content)
        put(self._txn, self._t.files, number(directory) + name, raw)
        if row.content is not None:
            self._relate_again(row.content, directory)
            put(self._txn, self._t.holders, number(row.content) + number(directory) + name, b"")
            self._unmark_deleted(row.content)
        if row.state is FileState.FAILED:
            self._add(b"failed", 1)

    def _take_row(self, directory: int, name: bytes) -> bytes | None:
        """Remove a file's row and its counts; None without a row."""
        raw = pop(self._txn, self._t.files, number(directory) + name)
        if raw is None:
            return None
        row = records.decode_file(raw)
        self._count_row(directory, name, -1, row.content)
        if records.sound(raw, FileRecord) is None:
            for content in self.unsound.forget_file(number(directory) + name):
                if not self.is_held(content):
                    self._mark_deleted(content)
            return raw
        if row.content is not None:
            self._txn.delete(number(row.content) + number(directory) + name, db=self._t.holders)
            if not self.is_held(row.content):
                self._mark_deleted(row.content)
        if row.state is FileState.FAILED:
            self._add(b"failed", -1)
        return raw

    def _count_row(self, directory: int, name: bytes, change: int, content: ContentId | None) -> None:
        """Number a change of this host's files; count those of others."""
        if directory >= keys.FOREIGN:
            self._add(b"foreign", change)
            return
        self.changes_files = True
        self.regrouped.update(() if content is None else (content,))
        if self.is_sharing:
            self.changes.note(keys.join(self._tree.path(directory), name))

    def _files_at(self, path: bytes) -> list[bytes]:
        return [path] if self.file(path) else [below for below, _ in self.walk(path)]

    def _relate_again(self, content: ContentId, directory: int) -> None:
        """The relations of a content that only other hosts had were not looked for."""
        is_elsewhere = directory < keys.FOREIGN and self.is_held(content) and not any(self._holders(content))
        if is_elsewhere and self._content(content).features_version:
            self.relations.mark(content)

    def _note_content(self, content: ContentId) -> None:
        """A new fingerprint is a change of a file that has it."""
        for directory, name in islice(self._holders(content) if self.is_sharing else (), 1):
            self._count_row(directory, name, 0, content)

    @cached_property
    def is_sharing(self) -> bool:
        """Whether changes of this host's files are numbered for others."""
        return bool(self.changes.openings())

    def _move_file(self, parent: int, name: bytes, new: bytes) -> None:
        raw = self._take_row(parent, name)
        if raw is None:
            return
        self._tree.remove_empty(parent)
        directories, new_name = keys.split_file(new)
        self._clear(directories, new_name)
        self._put_row(self._make(directories), new_name, raw)

    def _move_directory(self, directory: int, new: bytes) -> None:
        """Detach first: the removal of ``new`` must spare a directory below ``new``."""
        self.moves_directories = True
        directories, name = keys.split_file(new)
        self._tree.remove_empty(self._tree.detach(directory))
        self._clear(directories, name)
        at = self._make(directories)
        self._take_row(at, name)
        self._tree.attach(directory, at, name)

    def _put_model(self, model: str, record: ModelRecord) -> None:
        put(self._txn, self._t.models, model.encode(), records.encode(record))

    def _mark_deleted(self, content: ContentId) -> None:
        since = number(self.clock())
        put(self._txn, self._t.deleted, number(content), since)
        put(self._txn, self._t.deletions, since + number(content), b"")

    def _unmark_deleted(self, content: ContentId) -> None:
        since = pop(self._txn, self._t.deleted, number(content))
        if since is not None:
            self._txn.delete(since + number(content), db=self._t.deletions)

    def _is_orphan(self, content: ContentId) -> bool:
        return get(self._txn, self._t.deleted, number(content)) is not None

    def _remove_content(self, content: ContentId) -> None:
        record, key = self._sound_content(number(content)), number(content)
        self._unmark_deleted(content)
        self._txn.delete(key, db=self._t.contents)
        if record is None:
            self.unsound.forget_names(content)
        else:
            self._txn.delete(record.digest, db=self._t.digests)
            if record.pixels:
                self._txn.delete(record.pixels + key, db=self._t.pixels)
        self._forget_derived(content)

    def _forget_derived(self, content: ContentId) -> None:
        delete_all(self._txn, self._t.features, number(content))
        self.relations.forget(content)
        self.relations.remove_facts(content)
        self.regrouped.add(content)
        for model, _ in list(self._models()):
            self.remove_vector(content, model)

    def remove_vector(self, content: ContentId, model: str) -> None:
        """Remove the vector of one model, whether or not it is sound; a missing one is passed over."""
        known = self._model(model)
        if known is not None and self._has_vector(known, content):
            delete_all(self._txn, self._t.vectors, vector_key(known, content))
            self._put_model(model, ModelRecord(known.number, known.width, known.vectors - 1))

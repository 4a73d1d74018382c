"""Writing a page of other hosts' rows: in order of key, with a cursor for each table, and each count changed once.

Row by row a file with a new content takes some thirty calls of LMDB, here eleven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain

from shazimd.fingerprint import Fingerprint, FloatVector
from shazimd.store import keys, records
from shazimd.store.reader import vector_key
from shazimd.store.records import ContentRecord, ModelRecord
from shazimd.store.tables import number, parse_number, present, put_large_rows, put_rows, unsealed
from shazimd.store.writer import Writer
from shazimd.types import ContentId, Digest, FileRow


class BulkWriter(Writer):
    """A write transaction with verbs for many rows at once. Their promises are those of the verbs for a single row."""

    def add_new_contents(self, given: Mapping[Digest, Fingerprint]) -> dict[Digest, ContentId]:
        """Add contents as ``add_content`` does with ``held`` and without ``related``; the ids of those that were added.

        Left to ``add_content`` are contents that are known, those that can't be stored, and the first of each model."""
        known = present(self._txn, self._t.digests, given)
        new = {digest: fingerprint for digest, fingerprint in given.items() if digest not in known}
        vectors = self._encoded_vectors(new)
        bare = [digest for digest, fingerprint in new.items() if fingerprint.signals.fv is None]
        encoded = {d: records.encode(records.to_record(d, new[d])) for d in chain(bare, *vectors.values())}
        ready = [digest for digest, record in encoded.items() if not records.fault(record, ContentRecord)]
        if not ready:
            return {}
        first = self._add(b"content", len(ready)) - len(ready) + 1
        ids = dict(zip(ready, range(first, first + len(ready)), strict=True))
        rows = [(digest, number(content), new[digest]) for digest, content in ids.items()]
        put_rows(self._txn, self._t.contents, ((key, encoded[digest]) for digest, key, _ in rows))
        put_rows(self._txn, self._t.digests, ((digest, key) for digest, key, _ in rows))
        put_rows(self._txn, self._t.pixels, ((f.pixels + key, b"") for _, key, f in rows if f.pixels))
        put_large_rows(self._txn, self._t.features, ((key, f.features) for _, key, f in rows))
        for model, raws in vectors.items():
            self._put_vectors(model, {ids[digest]: raw for digest, raw in raws.items() if digest in ids})
        return ids

    def put_foreign_files(self, rows: Mapping[bytes, FileRow]) -> None:
        """Put files of other hosts as ``put_file`` does, of known contents. An equal row stays as it is, and of a
        file and a directory with the same path the file is put."""
        placed = {}
        for path in rows:
            directories, name = keys.split_file(path)
            placed[number(self._make(directories)) + name] = path
        encoded = {key: records.encode_file(rows[path]) for key, path in placed.items()}
        before = present(self._txn, self._t.files, placed)
        directories_there = present(self._txn, self._t.directories, placed)
        new = {key: number(rows[path].content or 0) for key, path in placed.items() if key not in before}
        for key in directories_there:
            new.pop(key, None)
        put_rows(self._txn, self._t.files, ((key, encoded[key]) for key in new))
        put_rows(self._txn, self._t.holders, ((content + key, b"") for key, content in new.items()))
        for content in present(self._txn, self._t.deleted, set(new.values())):
            self._unmark_deleted(parse_number(content))
        self._add(b"foreign", len(new))
        for path, key in sorted(((path, key) for key, path in placed.items() if key not in new), reverse=True):
            if key in directories_there or unsealed(key, before[key]) != encoded[key]:
                self.put_file(path, rows[path])  # a file after those below its path

    def _encoded_vectors(self, given: Mapping[Digest, Fingerprint]) -> dict[str, dict[Digest, bytes]]:
        """The bytes of vectors by their models, of those that can be stored beside a model's others."""
        of_model: defaultdict[str, dict[Digest, FloatVector]] = defaultdict(dict)
        for digest, fingerprint in given.items():
            if fingerprint.model is not None and fingerprint.signals.fv is not None:
                of_model[fingerprint.model][digest] = fingerprint.signals.fv
        found: dict[str, dict[Digest, bytes]] = {}
        for model, vectors in of_model.items():
            known = self._model(model)
            fitting = {digest: fv for digest, fv in vectors.items() if known and fv.shape == (known.width,)}
            encoded = zip(fitting, records.encode_vectors([*fitting.values()]), strict=True)
            found[model] = {digest: raw for digest, raw in encoded if raw is not None}
        return found

    def _put_vectors(self, model: str, vectors: Mapping[ContentId, bytes]) -> None:
        """Write encoded vectors of new contents, in order of id."""
        known = self._model(model)
        if known is not None and vectors:
            rows = ((vector_key(known, content), raw) for content, raw in vectors.items())
            put_large_rows(self._txn, self._t.vectors, rows)
            self._put_model(model, ModelRecord(known.number, known.width, known.vectors + len(vectors)))

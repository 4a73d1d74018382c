"""Rows with their checksum, and values in them that nothing can use: a worker forged them before its replies were
checked, or another program wrote them.

Such a content reads as unknown, such a vector as missing, such a pending alert as not there, so nothing in the daemon
meets them. They are named here, for ``check`` and for the log, and written anew from the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from msgspec import Struct

from shazimd.errors import StoreDamaged
from shazimd.store import keys, records
from shazimd.store.keys import Tree
from shazimd.store.records import ContentRecord, FileRecord, ModelRecord, PendingAlertPath, PendingAlertRecord
from shazimd.store.relations import FactsRecord, RelationRecord
from shazimd.store.tables import (
    CHECKSUM_BYTES,
    NUMBER_BYTES,
    Tables,
    Transaction,
    delete_all,
    get,
    get_pieces,
    get_stored,
    is_sealed,
    number,
    parse_number,
    put,
    raw_rows,
    scan,
)
from shazimd.types import ContentId, UserDecision
from shazimd.words.packing import VERSION, check_packed

KINDS: dict[str, type[Struct]] = {
    "files": FileRecord,
    "contents": ContentRecord,
    "models": ModelRecord,
    "pending_alerts": PendingAlertRecord,
    "facts": FactsRecord,
    "decisions": UserDecision,
}
"""Tables of records, but for relations, which have empty values, too."""


class UnsoundDerived(NamedTuple):
    """The derived data of a content, found to be unsound or damaged."""

    content: ContentId
    features: str = ""
    """the fault, empty for none"""
    vectors: tuple[str, ...] = ()
    """models of unsound vectors"""
    relations: tuple[ContentId, ...] = ()
    """partners of unsound relations"""
    facts: bool = False

    @property
    def has_fault(self) -> bool:
        return self.lacks_decoding or bool(self.relations or self.facts)

    @property
    def lacks_decoding(self) -> bool:
        """Whether the picture is to be decoded again for these; not for relations and facts."""
        return bool(self.features or self.vectors)


class UnsoundReader:
    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn = txn
        self._t = tables

    def fault(self, content: ContentId) -> str:
        """The fault of a content's row, empty for a sound row or none."""
        raw = get(self._txn, self._t.contents, number(content))
        return "" if raw is None else records.fault(raw, ContentRecord)

    def is_kept(self, content: ContentId) -> bool:
        """Whether a content has a row, sound or not."""
        return get(self._txn, self._t.contents, number(content)) is not None

    def files(self, content: ContentId) -> list[bytes]:
        """The paths of a content on this host, whether or not its row is sound, sorted."""
        tree = Tree(self._txn, self._t)
        keys_of = self._own_files(number(content))
        return sorted(keys.join(tree.path(parse_number(key)), key[NUMBER_BYTES:]) for key in keys_of)

    def contents(self, after: ContentId = 0) -> Iterator[ContentId]:
        """Contents with id > ``after`` and files, whose row is unsound, in order of id."""
        for key, raw in scan(self._txn, self._t.contents, b"", number(after + 1)):
            if records.sound(raw, ContentRecord) is None and next(self._own_files(key), None):
                yield parse_number(key)

    def derived(self, after: ContentId = 0) -> Iterator[UnsoundDerived]:
        """The contents with id > ``after``, each with its unsound derived data, if any. Reads all of it."""
        models = self._models()
        for key, _ in scan(self._txn, self._t.contents, b"", number(after + 1)):
            yield self._derived(key, models)

    def derived_of(self, content: ContentId) -> UnsoundDerived:
        """The unsound derived data of a content, if any."""
        return self._derived(number(content), self._models())

    def pending_alerts(self) -> Iterator[tuple[int, bytes | None]]:
        """Numbers of unsound pending alerts, and the file of each as far as it can be read."""
        for key, raw in scan(self._txn, self._t.pending_alerts, b""):
            if records.sound(raw, PendingAlertRecord) is None:
                found = records.sound(raw, PendingAlertPath)
                yield parse_number(key), None if found is None else found.path

    def model_is_unsound(self, model: str, width: int) -> bool:
        """Whether the row of a model is unsound, or has another width than the model."""
        raw = get(self._txn, self._t.models, model.encode())
        known = records.sound(raw, ModelRecord)
        return raw is not None and (known is None or known.width != width)

    def _own_files(self, content: bytes) -> Iterator[bytes]:
        """The keys of a content's files on this host, which come before those of others."""
        holders = (key[NUMBER_BYTES:] for key, _ in scan(self._txn, self._t.holders, content))
        return takewhile(lambda key: not keys.is_foreign_key(key), holders)

    def _models(self) -> dict[str, ModelRecord]:
        found = ((key, records.sound(raw, ModelRecord)) for key, raw in scan(self._txn, self._t.models, b""))
        return {key.decode(): known for key, known in found if known is not None}

    def _derived(self, key: bytes, models: dict[str, ModelRecord]) -> UnsoundDerived:
        vectors = tuple(name for name, known in models.items() if self._has_unsound_vector(known, key))
        rows = raw_rows(self._txn, self._t.relations, key)
        relations = [pair[NUMBER_BYTES:] for pair, stored in rows if not _is_whole("relations", pair, stored)]
        stored = get_stored(self._txn, self._t.facts, key)
        return UnsoundDerived(
            parse_number(key),
            self._fault_of_features(key),
            vectors,
            tuple(map(parse_number, relations)),
            stored is not None and not _is_whole("facts", key, stored),
        )

    def _fault_of_features(self, key: bytes) -> str:
        try:
            return features_fault(get_pieces(self._txn, self._t.features, key))
        except StoreDamaged as error:
            return str(error)

    def _has_unsound_vector(self, known: ModelRecord, key: bytes) -> bool:
        try:
            raw = get_pieces(self._txn, self._t.vectors, known.prefix + key)
        except StoreDamaged:
            return True
        return bool(raw) and records.sound_vector(raw, known.width) is None


class UnsoundWriter(UnsoundReader):
    def forget_names(self, content: ContentId) -> None:
        """Remove the names by which a content with an unsound row is found: its digests and pixels. Reads both tables;
        such rows are rare."""
        own = number(content)
        for key, raw in list(scan(self._txn, self._t.digests, b"")):
            if raw == own:
                self._txn.delete(key, db=self._t.digests)
        for key, _ in list(scan(self._txn, self._t.pixels, b"")):
            if key[-NUMBER_BYTES:] == own:
                self._txn.delete(key, db=self._t.pixels)

    def forget_file(self, file: bytes) -> list[ContentId]:
        """Remove a file, by its key, from the contents that list it; these contents. Counts failed files anew."""
        listed = [key for key, _ in scan(self._txn, self._t.holders, b"") if key[NUMBER_BYTES:] == file]
        for key in listed:
            self._txn.delete(key, db=self._t.holders)
        failed = sum(records.is_failed(raw) for _, raw in scan(self._txn, self._t.files, b""))
        put(self._txn, self._t.numbers, b"failed", number(failed))
        return [parse_number(key) for key in listed]

    def drop_model(self, model: str) -> None:
        """Forget a model's row and all vectors under its number: each content then lacks its vector."""
        known = records.sound(get(self._txn, self._t.models, model.encode()), ModelRecord)
        if known is not None:
            delete_all(self._txn, self._t.vectors, known.prefix)
        self._txn.delete(model.encode(), db=self._t.models)


def features_fault(packed: bytes) -> str:
    """The fault of local features of the present version, empty for none."""
    if packed[:1] != bytes([VERSION]):
        return ""
    try:
        check_packed(packed)
    except ValueError as error:
        return str(error)
    return ""


def is_sound(table: str, raw: bytes) -> bool:
    """Whether the value of a row, whole by its checksum, is of its table's kind."""
    if table == "relations":
        return not raw or records.sound(raw, RelationRecord) is not None
    if table in ("alerts", "values"):
        return records.sound_json(raw) is not None
    return table not in KINDS or records.sound(raw, KINDS[table]) is not None


def _is_whole(table: str, key: bytes, stored: bytes) -> bool:
    """Whether a row agrees with its checksum and is of its table's kind."""
    return is_sealed(key, stored) and is_sound(table, stored[:-CHECKSUM_BYTES])

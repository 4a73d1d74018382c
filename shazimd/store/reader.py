"""Reading: one transaction's snapshot of the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

from shazimd.errors import StoreDamaged
from shazimd.fingerprint import Appearance, Fingerprint, FloatVector, Query, Signals
from shazimd.store import keys, records
from shazimd.store.changes import ChangeReader
from shazimd.store.decisions import DecisionReader
from shazimd.store.keys import Tree
from shazimd.store.records import ContentRecord, ModelRecord
from shazimd.store.relations import RelationReader
from shazimd.store.tables import (
    MODEL_BYTES,
    NUMBER_BYTES,
    Table,
    Tables,
    Transaction,
    derived,
    get,
    get_number,
    has_rows,
    joined,
    keys_between,
    number,
    parse_number,
    raw_rows,
    scan,
    stored_pieces,
    unsealed,
)
from shazimd.store.unsound import UnsoundReader
from shazimd.types import ContentId, Digest, FileRow, Listing, Stat

CLOCK_STEP_S_MAX = 86_400
"""A step of the wall clock counts for a day at most. See ``Reader.clock``."""
_ROWS_BETWEEN_TRIMS, _FEATURES_BETWEEN_TRIMS = 4096, 64
"""Local features take 16 kB a row."""


class Sight(NamedTuple):
    """Settings of all transactions of a store."""

    features_version: int | None = None
    """Local features of other versions read as missing; None: all are read."""
    wall_clock: Callable[[], float] = time.time
    seen_s: Callable[[], int] | None = None
    """see ``Reader.seen_s``; None: as it was last stored"""
    note_damage: Callable[[ContentId], object] | None = None
    """see ``Store.pass_over_damage``"""


_OPEN = Sight()


class Reader:
    """One consistent snapshot. Walks list the files of a directory by name, then its directories by name, each with its
    subtree."""

    def __init__(self, txn: Transaction, tables: Tables, trim: Callable[[], None], sight: Sight = _OPEN) -> None:
        """``trim`` is called now and then where much is read; it keeps resident memory small."""
        self._txn = txn
        self._t = tables
        self._tree = Tree(txn, tables)
        self._trim = trim
        self._sight = sight
        self._features_read = count(1)

    @property
    def relations(self) -> RelationReader:
        """Verified relations between contents."""
        return RelationReader(self._txn, self._t, self._sight.note_damage)

    @property
    def decisions(self) -> DecisionReader:
        """Decisions of persons about contents."""
        return DecisionReader(self._txn, self._t)

    @property
    def changes(self) -> ChangeReader:
        """The numbered changes of this host's files."""
        return ChangeReader(self._txn, self._t)

    @property
    def unsound(self) -> UnsoundReader:
        """Rows that read as missing, since nothing can use their values."""
        return UnsoundReader(self._txn, self._t)

    def file(self, path: bytes) -> FileRow | None:
        """The row of one file, None when unknown."""
        directories, name = keys.split_file(path)
        directory = self._tree.find(directories)
        raw = None if directory is None else get(self._txn, self._t.files, number(directory) + name)
        return None if raw is None else records.decode_file(raw)

    def listing(self, directory: bytes) -> Listing:
        """One directory level: its known files and known subdirectories; empty when unknown."""
        found = self._tree.find(keys.split(directory))
        if found is None:
            return Listing()
        return Listing(dict(self._files_in(found)), frozenset(name for name, _ in self._tree.children(found)))

    def walk(self, directory: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, FileRow]]:
        """Every known file below a directory, as (path, row), in the order of the tree; from a path on, which need not
        be known any more."""
        for path, below, start in self._tree.below(directory, after):
            for name, row in self._files_in(below, start):
                yield keys.join(path, name), row

    def failed(self) -> Iterator[bytes]:
        """The paths of the failed files, directory by directory. Reads a row for each file."""
        for key, raw in scan(self._txn, self._t.files, b""):
            if records.is_failed(raw):
                yield keys.join(self._tree.path(parse_number(key)), key[NUMBER_BYTES:])

    def content(self, digest: Digest) -> ContentId | None:
        """The content with these bytes, None when unknown."""
        raw = get(self._txn, self._t.digests, digest)
        return None if raw is None or self._sound_content(raw) is None else parse_number(raw)

    def digest(self, content: ContentId) -> Digest:
        """The digest of a content. Raises KeyError when unknown."""
        return self._content(content).digest

    def contents_with_pixels(self, pixels: bytes) -> list[ContentId]:
        """The contents whose ``Fingerprint.pixels`` is equal, in order of id."""
        key_bytes = len(pixels) + NUMBER_BYTES
        rows = scan(self._txn, self._t.pixels, pixels)
        return [parse_number(key[-NUMBER_BYTES:]) for key, _ in rows if len(key) == key_bytes]

    def fingerprint(self, content: ContentId, model: str | None) -> Fingerprint:
        """The fingerprint of a content, with any vector of ``model``. Raises KeyError for an unknown content."""
        record = self._content(content)
        return records.to_fingerprint(record, self._vector(content, model), model, self._features(content))

    def features(self, content: ContentId) -> bytes:
        """``Fingerprint.features`` alone; empty for features of another version. Raises KeyError when unknown."""
        self._content(content)
        return self._features(content)

    def twins(self, content: ContentId) -> list[ContentId]:
        """The contents with the pixels of a content, in order of id, itself included; none if these are unknown."""
        record = self._sound_content(number(content))
        return self.contents_with_pixels(record.pixels) if record and record.pixels else []

    def knows(self, content: ContentId) -> bool:
        return self._sound_content(number(content)) is not None

    def appearance(self, content: ContentId) -> Appearance:
        """The size, the format and the state of a content's picture. Raises KeyError when unknown."""
        record = self._content(content)
        return Appearance(record.width, record.height, record.format, record.damaged)

    def files_of(self, content: ContentId, *, foreign: bool = False) -> list[bytes]:
        """The paths of a content, sorted; empty when all were deleted. Those of this host, or of the other hosts."""
        return sorted(
            keys.join(self._tree.path(directory), name) for directory, name in self._holders(content, foreign)
        )

    def some_files_of(
        self, content: ContentId, limit: int, *, foreign: bool = False, below: Sequence[bytes] = ()
    ) -> list[tuple[bytes, FileRow]]:
        """At most ``limit`` files of a content with their rows, in the order in which their directories became known;
        of those ``below`` any of these directories, if given.

        Takes no longer for a content with many files; ``below``, 4 us for each directory with files of the content."""
        holders = self._holders_below(content, foreign, below) if below else self._holders(content, foreign)
        return [
            (keys.join(self._tree.path(directory), name), self._row(directory, name))
            for directory, name in islice(holders, limit)
        ]

    def files_with_stat(self, content: ContentId, stat: Stat) -> list[bytes]:
        """The files of a content with this stat, whatever its ctime: the file itself after a rename.

        The rows of all files are compared as bytes, in half a microsecond each: a content may have thousands."""
        expected = records.stat_bytes(stat)
        holders = keys_between(self._txn, self._t.holders, number(content), number(content + 1))
        files = [key[NUMBER_BYTES:] for key in holders]
        with self._txn.cursor(self._t.files) as cursor:
            alike = [key for key, stored in cursor.getmulti(files) if stored.startswith(expected, 1)]
        return [keys.join(self._tree.path(parse_number(key)), key[NUMBER_BYTES:]) for key in alike]

    def count_files(self, content: ContentId, limit: int) -> int:
        """The number of files of a content on this host, counted up to ``limit``."""
        if self._sound_content(number(content)) is None:
            return 0
        start, end = number(content) + number(keys.ROOT), number(content) + number(keys.FOREIGN)
        return len(keys_between(self._txn, self._t.holders, start, end, limit))

    def is_held(self, content: ContentId) -> bool:
        """Whether any host has a file of a content."""
        return has_rows(self._txn, self._t.holders, number(content))

    def signals(self, model: str | None, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals]]:
        """The rows of an index: every content that is not low in information, id > ``after``, in order."""
        vectors = self._vectors(model, after)
        at, fv = next(vectors, (0, None))
        for content, record in self._contents(after):
            while fv is not None and at < content:
                at, fv = next(vectors, (0, None))
            if not record.low_information:
                yield content, Signals(record.hashes, fv if at == content else None)

    def hashes(self, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals, bool]]:
        """The hashes of every content, and whether it is low in information, id > ``after``, in order."""
        for content, record in self._contents(after):
            yield content, Signals(record.hashes, None), record.low_information

    def outdated(self, model: str | None, features_version: int | None, after: ContentId = 0) -> Iterator[ContentId]:
        """Contents with files but without a vector of ``model`` or features of ``features_version``, in order of id.

        None: vectors or features are not wanted. ``unsound.contents`` are others."""
        known = self._model(model)
        lack = model is not None and not (known and known.vectors == self._entries(self._t.contents))
        if not lack and features_version is None:
            return
        for content, record in self._contents(after):
            is_outdated = (features_version not in (None, record.features_version)) or (
                lack and not (known and self._has_vector(known, content))
            )
            if is_outdated and any(self._holders(content)):
                yield content

    def without_vector(self, model: str, after: ContentId = 0) -> Iterator[ContentId]:
        """Contents with files but without a vector of this model, in order of id."""
        return self.outdated(model, None, after)

    def deleted(self, age_s: float = 0) -> Iterator[ContentId]:
        """Contents whose last file went at least ``age_s`` ago, by ``clock``; the oldest deletion first."""
        horizon = self.clock() - age_s
        for key, _ in scan(self._txn, self._t.deletions, b""):
            if parse_number(key) > horizon:
                return
            yield parse_number(key[NUMBER_BYTES:])

    def clock(self) -> int:
        """Seconds since the store was made, by which deletions are dated.

        The clock follows the wall clock, but a step since the last ``Writer.advance_clock`` counts for a day at most,
        and a step back for nothing. A wall clock set forward by years does not end every grace at once. In return a
        machine switched off for a month prolongs the grace."""
        step = int(self._sight.wall_clock()) - self._last(b"clock_wall")
        return self._last(b"clock") + min(max(step, 0), CLOCK_STEP_S_MAX)

    def seen_s(self) -> int:
        """Seconds that have passed while a process had the store open, by a clock that nobody sets.

        A crash loses those since the last ``Writer.advance_clock``."""
        return self._last(b"seen") if self._sight.seen_s is None else self._sight.seen_s()

    def made(self, content: ContentId, model: str | None) -> tuple[int, bool]:
        """The version of a content's local features, and whether it has a vector of a model. Raises KeyError."""
        known = self._model(model)
        return self._content(content).features_version, known is not None and self._has_vector(known, content)

    def removals(self, after: int = 0) -> Iterator[tuple[int, ContentId]]:
        """Contents that were removed for good, as (sequence number, id), sequence number > ``after``."""
        for key, raw in scan(self._txn, self._t.removals, b"", number(after + 1)):
            yield parse_number(key), parse_number(raw)

    def alerts(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Alerts with id > ``after``, oldest first, as (id, record)."""
        rows = scan(self._txn, self._t.alerts, b"", number(after + 1))
        found = ((parse_number(key), records.sound_json(raw)) for key, raw in rows)
        yield from islice((alert for alert in found if isinstance(alert[1], dict)), limit)

    def latest_alerts(self, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The last ``limit`` alerts, newest first, as (id, record)."""
        with self._txn.cursor(self._t.alerts) as cursor:
            if cursor.last():
                for key, stored in islice(cursor.iterprev(), limit):
                    if isinstance(alert := records.sound_json(unsealed(key, stored)), dict):
                        yield parse_number(key), alert

    def pending_alerts(self) -> Iterator[tuple[int, bytes, Query]]:
        """Files whose alert is not decided yet, as (number, path, query), in order of number."""
        for number_, note in self._pending(across=False):
            yield number_, note.path, note.query

    def pending_across(self, after: int = 0) -> Iterator[tuple[int, records.PendingNote]]:
        """Files for which a match on another host is still to be looked for, by number > ``after``."""
        return self._pending(across=True, after=after)

    def count_pending_alerts(self) -> int:
        """The number of alerts still to be decided, those about other hosts with them."""
        return self._entries(self._t.pending_alerts)

    def _pending(self, *, across: bool, after: int = 0) -> Iterator[tuple[int, records.PendingNote]]:
        for key, raw in scan(self._txn, self._t.pending_alerts, b"", number(after + 1)):
            note = records.sound_pending_alert(raw, self._sight.features_version)
            if note is not None and bool(note.digest) == across:
                yield parse_number(key), note

    untold = pending_alerts  # its name in version 0.1, by which scripts outside the package read a store

    def get(self, key: str) -> Any:
        """A small value by its name (see ``Writer.set``), None when unset."""
        return records.sound_json(get(self._txn, self._t.values, key.encode()))

    def counts(self) -> dict[str, int]:
        """``images`` (indexed files of this host), ``foreign`` (files of others), ``contents``, ``failed`` (files),
        ``alerts``, ``vectors``; cheap."""
        failed, foreign = self._last(b"failed"), self._last(b"foreign")
        return {
            "images": self._entries(self._t.files) - failed - foreign,
            "foreign": foreign,
            "contents": self._entries(self._t.contents),
            "failed": failed,
            "alerts": self._entries(self._t.alerts),
            "vectors": sum(record.vectors for _, record in self._models()),
        }

    def _entries(self, table: Table) -> int:
        return self._txn.stat(table)["entries"]

    def _last(self, name: bytes) -> int:
        """A row of ``numbers``, 0 when missing."""
        return get_number(self._txn, self._t, name)

    def _files_in(self, directory: int, after: bytes = b"") -> Iterator[tuple[bytes, FileRow]]:
        start = number(directory) + after + b"\0" if after else b""  # no name has a NUL
        for key, raw in scan(self._txn, self._t.files, number(directory), start):
            yield key[NUMBER_BYTES:], records.decode_file(raw)

    def _content(self, content: ContentId) -> ContentRecord:
        record = self._sound_content(number(content))
        if record is None:
            raise KeyError(content)
        return record

    def _sound_content(self, key: bytes) -> ContentRecord | None:
        return records.sound(get(self._txn, self._t.contents, key), ContentRecord)

    def _features(self, content: ContentId) -> bytes:
        if next(self._features_read) % _FEATURES_BETWEEN_TRIMS == 0:
            self._trim()
        key = number(content)
        packed = self._derived(content, key, stored_pieces(self._txn, self._t.features, key))
        return records.of_version(packed, self._sight.features_version)

    def _derived(self, content: ContentId, key: bytes, stored: bytes) -> bytes:
        return derived(key, stored, content, self._sight.note_damage)

    def _contents(self, after: ContentId) -> Iterator[tuple[ContentId, ContentRecord]]:
        for n, (key, raw) in enumerate(scan(self._txn, self._t.contents, b"", number(after + 1))):
            if n % _ROWS_BETWEEN_TRIMS == 0:
                self._trim()
            if (record := records.sound(raw, ContentRecord)) is not None:
                yield parse_number(key), record

    def _holders(self, content: ContentId, foreign: bool = False) -> Iterator[tuple[int, bytes]]:
        """The files of a content as (directory, name): of this host, which are first, or of the others. None of an
        unsound content, which is no match of anything."""
        start = number(content) + number(keys.FOREIGN if foreign else keys.ROOT)
        is_sound = self._sound_content(number(content)) is not None
        for key, _ in scan(self._txn, self._t.holders, number(content), start) if is_sound else ():
            directory = parse_number(key[NUMBER_BYTES:])
            if not foreign and directory >= keys.FOREIGN:
                return
            yield directory, key[2 * NUMBER_BYTES :]

    def _holders_below(self, content: ContentId, foreign: bool, below: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """As ``_holders``, of the subtrees of these directories. A directory elsewhere is passed over as a whole."""
        found = (self._tree.find(keys.split(path)) for path in below)
        tops = {directory for directory in found if directory is not None}
        if not tops or self._sound_content(number(content)) is None:
            return
        start = number(content) + number(keys.FOREIGN if foreign else keys.ROOT)
        end = number(content + 1) if foreign else number(content) + number(keys.FOREIGN)
        while first := keys_between(self._txn, self._t.holders, start, end, 1):
            directory = parse_number(first[0][NUMBER_BYTES:])
            start = number(content) + number(directory + 1)
            if self._tree.is_below(directory, tops):
                prefix = number(content) + number(directory)
                yield from ((directory, key[len(prefix) :]) for key, _ in scan(self._txn, self._t.holders, prefix))

    def _row(self, directory: int, name: bytes) -> FileRow:
        raw = get(self._txn, self._t.files, number(directory) + name)
        if raw is None:
            raise StoreDamaged(f"a content names the file {name!r}, expected a row of this file")
        return records.decode_file(raw)

    def _model(self, model: str | None) -> ModelRecord | None:
        return None if model is None else records.sound(get(self._txn, self._t.models, model.encode()), ModelRecord)

    def _models(self) -> Iterator[tuple[str, ModelRecord]]:
        for key, raw in scan(self._txn, self._t.models, b""):
            if (known := records.sound(raw, ModelRecord)) is not None:
                yield key.decode(), known

    def _vector(self, content: ContentId, model: str | None) -> FloatVector | None:
        known = self._model(model)
        if known is None:
            return None
        key = vector_key(known, content)
        raw = self._derived(content, key, stored_pieces(self._txn, self._t.vectors, key))
        return records.sound_vector(raw, known.width) if raw else None

    def _has_vector(self, known: ModelRecord, content: ContentId) -> bool:
        return has_rows(self._txn, self._t.vectors, vector_key(known, content))

    def _vectors(self, model: str | None, after: ContentId) -> Iterator[tuple[ContentId, FloatVector | None]]:
        known = self._model(model)
        if known is None:
            return
        prefix, start = known.prefix, vector_key(known, after + 1)
        for key, stored in joined(raw_rows(self._txn, self._t.vectors, prefix, start)):
            content = parse_number(key[MODEL_BYTES:])
            if (fv := records.sound_vector(self._derived(content, key, stored), known.width)) is not None:
                yield content, fv


def vector_key(known: ModelRecord, content: ContentId) -> bytes:
    return known.prefix + number(content)


LmdbReader = Reader  # likewise

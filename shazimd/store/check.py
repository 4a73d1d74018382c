"""Consistency of the tables with each other, and of each row with its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shazimd.store import records
from shazimd.store.changes import changed_key
from shazimd.store.keys import FOREIGN, ROOT, TOPS, Tree
from shazimd.store.records import ContentRecord, FileRecord, ModelRecord
from shazimd.store.relations import RelationRecord
from shazimd.store.tables import (
    MODEL_BYTES,
    NUMBER_BYTES,
    Table,
    Tables,
    Transaction,
    get,
    get_number,
    has_rows,
    number,
    parse_number,
    scan,
    scan_pieces,
)
from shazimd.store.unsound import KINDS, UnsoundReader
from shazimd.text import readable
from shazimd.types import UserDecision


def problems(txn: Transaction, tables: Tables, trim: Callable[[], None]) -> Iterator[str]:
    """Every inconsistency in a sentence; nothing for a sound store. Reads every table once, and calls ``trim`` after
    each of EXAMINATIONS."""
    for examine in EXAMINATIONS:
        yield from examine(txn, tables)
        trim()


def _unsound_rows(txn: Transaction, t: Tables) -> Iterator[str]:
    """Rows with values that nothing can use, with the files of contents; a start of the daemon passes over them, and
    makes what follows from pictures anew."""
    unsound = UnsoundReader(txn, t)
    for table, kind in KINDS.items():
        for key, raw in scan(txn, getattr(t, table), b""):
            if reason := records.fault(raw, kind):
                names = unsound.files(parse_number(key)) if table == "contents" else []
                of = f" of {readable(names[0])}" if names else ""
                yield f"a row of the table {table} is unsound{of}: key {key!r}: {reason}"
    for table in ("alerts", "values"):
        for key, raw in scan(txn, getattr(t, table), b""):
            if records.sound_json(raw) is None:
                yield f"a row of the table {table} is unsound: key {key!r}: {raw[:40]!r} is no JSON"
    for found in unsound.derived():
        if found.features:
            yield f"features of content {found.content} are unsound: {found.features}"
        for model in found.vectors:
            yield f"the vector of model {model} of content {found.content} is unsound: it has another width or length"
        if found.relations:
            yield f"a relation of content {found.content} is unsound"


def _directories(txn: Transaction, t: Tables) -> Iterator[str]:
    tree = Tree(txn, t)
    for key, raw in scan(txn, t.directories, b""):
        directory = parse_number(raw)
        if get(txn, t.directory_names, raw) != key:
            yield f"directory {directory} is in {key!r}, but does not know it"
        if tree.is_empty(directory):
            yield f"directory {directory} is empty"
    for key, place in scan(txn, t.directory_names, b""):
        if get(txn, t.directories, place) != key:
            yield f"directory {parse_number(key)} says it is in {place!r}, but is not"
        if not _reaches_root(txn, t, parse_number(key)):
            yield f"directory {parse_number(key)} does not lie below the root"


def _reaches_root(txn: Transaction, t: Tables, directory: int) -> bool:
    seen = set()
    while directory not in TOPS and directory not in seen:
        seen.add(directory)
        raw = get(txn, t.directory_names, number(directory))
        if raw is None:
            return False
        directory = parse_number(raw)
    return directory in TOPS


def _files(txn: Transaction, t: Tables) -> Iterator[str]:
    failed = foreign = 0
    for key, raw in scan(txn, t.files, b""):
        record = records.sound(raw, FileRecord)
        if record is None:
            continue
        failed += not record.content
        foreign += parse_number(key) >= FOREIGN
        if parse_number(key) != ROOT and not _has(txn, t.directory_names, key[:NUMBER_BYTES]):
            yield f"file {key!r} is in an unknown directory"
        if _has(txn, t.directories, key):
            yield f"file {key!r} is a directory too"
        if record.content and not _has(txn, t.contents, number(record.content)):
            yield f"file {key!r} holds the unknown content {record.content}"
        if record.content and not _has(txn, t.holders, number(record.content) + key):
            yield f"file {key!r} is not listed under its content {record.content}"
    for name, found in ((b"failed", failed), (b"foreign", foreign)):
        if found != get_number(txn, t, name):
            yield f"{name.decode()} files are {found}, but {get_number(txn, t, name)} are counted"


def _holders(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, _ in scan(txn, t.holders, b""):
        record = records.sound(get(txn, t.files, key[NUMBER_BYTES:]), FileRecord)
        if record is None or record.content != parse_number(key):
            yield f"content {parse_number(key)} lists file {key[NUMBER_BYTES:]!r}, which does not hold it"


def _contents(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, raw in scan(txn, t.contents, b""):
        record = records.sound(raw, ContentRecord)
        if record is None:
            continue
        if get(txn, t.digests, record.digest) != key:
            yield f"content {parse_number(key)} is not found by its digest"
        if record.pixels and not _has(txn, t.pixels, record.pixels + key):
            yield f"content {parse_number(key)} is not found by its pixels"
    for _, raw in scan(txn, t.removals, b""):
        if _has(txn, t.contents, raw):
            yield f"content {parse_number(raw)} is known, but listed as removed"


def _names_of_contents(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, raw in scan(txn, t.digests, b""):
        found = _content(txn, t, raw)
        if found is None or found.digest != key:
            yield f"digest {key.hex()} names content {parse_number(raw)}, which has another or is unknown"
    for key, _ in scan(txn, t.pixels, b""):
        found = _content(txn, t, key[-NUMBER_BYTES:])
        if found is None or found.pixels != key[:-NUMBER_BYTES]:
            yield f"pixels {key.hex()} name a content that has others or is unknown"


def _deleted(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, _ in scan(txn, t.contents, b""):
        if has_rows(txn, t.holders, key) == _has(txn, t.deleted, key):
            yield f"content {parse_number(key)} has files and is marked as deleted, or neither"
    for key, since in scan(txn, t.deleted, b""):
        if not _has(txn, t.contents, key):
            yield f"the unknown content {parse_number(key)} is marked as deleted"
        if not _has(txn, t.deletions, since + key):
            yield f"the deletion of content {parse_number(key)} is not listed by its time"
    for key, _ in scan(txn, t.deletions, b""):
        if get(txn, t.deleted, key[NUMBER_BYTES:]) != key[:NUMBER_BYTES]:
            yield f"a deletion of content {parse_number(key[NUMBER_BYTES:])} is listed at another time than it happened"


def _features(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, packed in scan_pieces(txn, t.features, b""):
        record = _content(txn, t, key)
        if not _has(txn, t.contents, key):
            yield f"features are kept of the unknown content {parse_number(key)}"
        elif record is not None and record.features_version != packed[0]:
            yield f"features of content {parse_number(key)} are of version {packed[0]}, the content names another"


def _vectors(txn: Transaction, t: Tables) -> Iterator[str]:
    known = (records.sound(raw, ModelRecord) for _, raw in scan(txn, t.models, b""))
    models = {record.number: record for record in known if record is not None}
    found = dict.fromkeys(models, 0)
    for key, raw in scan_pieces(txn, t.vectors, b""):
        model, content = int.from_bytes(key[:MODEL_BYTES], "big"), key[MODEL_BYTES:]
        if model not in models or len(raw) != 2 * models[model].width:
            yield f"a vector of model {model} is {len(raw)} bytes long, or the model unknown"
            continue
        found[model] += 1
        if not _has(txn, t.contents, content):
            yield f"a vector is kept of the unknown content {parse_number(content)}"
    for model, record in models.items():
        if found[model] != record.vectors:
            yield f"vectors of model {model} are {found[model]}, but {record.vectors} are counted"


def _relations(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, raw in scan(txn, t.relations, b""):
        first, second = key[:NUMBER_BYTES], key[NUMBER_BYTES:]
        pair = f"{parse_number(first)} and {parse_number(second)}"
        if bool(raw) != (first < second) or not _has(txn, t.relations, second + first):
            yield f"the relation of contents {pair} is known from one side only"
        if not _has(txn, t.contents, first):
            yield f"a relation is kept of the unknown content {parse_number(first)}"
        if raw:
            record = records.sound(raw, RelationRecord)
            if record and {number(record.asked), number(record.known)} != {first, second}:
                yield f"the relation of contents {pair} names {record.asked} and {record.known}"
    for table, what in ((t.unrelated, "relations are to be found"), (t.facts, "facts are kept")):
        for key, _ in scan(txn, table, b""):
            if not _has(txn, t.contents, key):
                yield f"{what} of the unknown content {parse_number(key)}"


def _decisions(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, raw in scan(txn, t.decisions, b""):
        record = records.sound(raw, UserDecision)
        for digest in record.contents if record else ():
            if not _has(txn, t.decided, digest + key):
                yield f"decision {parse_number(key)} is not found by the digest {digest.hex()}"
    for key, _ in scan(txn, t.decided, b""):
        record = records.sound(get(txn, t.decisions, key[-NUMBER_BYTES:]), UserDecision)
        if record is None or key[:-NUMBER_BYTES] not in record.contents:
            yield f"digest {key[:-NUMBER_BYTES].hex()} names decision {parse_number(key[-NUMBER_BYTES:])}, not about it"


def _changes(txn: Transaction, t: Tables) -> Iterator[str]:
    for key, path in scan(txn, t.changes, b""):
        if get(txn, t.changed, changed_key(path)) != key:
            yield f"change {parse_number(key)} is not found by its path {path!r}"
    for digest, number_ in scan(txn, t.changed, b""):
        if not _has(txn, t.changes, number_):
            yield f"the path with the hash {digest.hex()} names change {parse_number(number_)}, which is unknown"


def _numbers(txn: Transaction, t: Tables) -> Iterator[str]:
    """No number in use may be given out again."""
    for name, table in (
        (b"directory", t.directory_names),
        (b"content", t.contents),
        (b"alert", t.alerts),
        (b"removal", t.removals),
        (b"decision", t.decisions),
        (b"change", t.changes),
    ):
        with txn.cursor(table) as cursor:
            last = parse_number(cursor.key()) if cursor.last() else 0
        if last >= FOREIGN:  # a directory of another host
            last = max(parse_number(key) & ~FOREIGN for key, _ in scan(txn, table, b""))
        if last > get_number(txn, t, name):
            yield f"the last {name.decode()} is {last}, but {get_number(txn, t, name)} were given out"


def _content(txn: Transaction, t: Tables, key: bytes) -> ContentRecord | None:
    return records.sound(get(txn, t.contents, key), ContentRecord)


def _has(txn: Transaction, table: Table, key: bytes) -> bool:
    return get(txn, table, key) is not None


EXAMINATIONS: tuple[Callable[[Transaction, Tables], Iterator[str]], ...] = (
    _unsound_rows,
    _directories,
    _files,
    _holders,
    _contents,
    _names_of_contents,
    _deleted,
    _features,
    _vectors,
    _relations,
    _decisions,
    _changes,
    _numbers,
)

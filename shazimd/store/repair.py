"""Write a store anew from what is whole in a damaged one.

The writer that makes every store makes this one too, so its tables agree with each other whatever was lost. Ids of
contents, alerts and decisions stay. Grace of deleted contents begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from shazimd.store import records
from shazimd.store.damage import TableRows
from shazimd.store.records import ContentRecord
from shazimd.store.salvage import Salvage
from shazimd.store.tables import MODEL_BYTES, NUMBER_BYTES, number, parse_number
from shazimd.store.unsound import features_fault
from shazimd.store.writer import Writer
from shazimd.types import FileRow, FileState, Stat, UserDecision

BATCH = 1000
"""Values written in one transaction; of features some 12 MB."""
COUNTERS = {
    b"directory": "directory_names",
    b"content": "contents",
    b"removal": "removals",
    b"alert": "alerts",
    b"pending_alert": "pending_alerts",
    b"decision": "decisions",
}
"""The last number of each kind, and the table with these numbers as keys."""
UNREAD = Stat(0, 0, 0, 0)
"""The stat of a file whose row was lost: it differs from any, so that the file is read again."""

T = TypeVar("T")
Write = Callable[[Callable[[Writer], Any]], Any]


def rebuild(write: Write, whole: Salvage, large: TableRows) -> None:
    """Fill a new store. ``large``: the rows of the same file once more, for the values that ``whole`` only counted."""
    _in_batches(write, _with_features(whole, large), _add_content)
    contents = whole.tables["contents"].keys()
    _in_batches(write, _vectors(whole, large), lambda writer, vector: writer.put_vector(*vector))
    _in_batches(write, _files(whole), lambda writer, file: writer.put_file(*file))
    _in_batches(write, _rows_by_number(whole), lambda writer, row: writer.put_row(*row))
    _in_batches(write, _rows_by_content(whole, contents), lambda writer, row: writer.put_row(*row))
    if not whole.is_damaged("relations") and not whole.is_damaged("unrelated"):
        related = (parse_number(key) for key in contents if key not in whole.tables["unrelated"])
        _in_batches(write, related, lambda writer, content: writer.relations.unmark([content]))
    write(lambda writer: _go_on(writer, whole))


def _in_batches(write: Write, values: Iterable[T], work: Callable[[Writer, T], object]) -> None:
    waiting = iter(values)
    while batch := list(islice(waiting, BATCH)):
        write(partial(_work_on, batch=batch, work=work))


def _work_on(writer: Writer, batch: list[T], work: Callable[[Writer, T], object]) -> None:
    for value in batch:
        work(writer, value)


def _with_features(whole: Salvage, large: TableRows) -> Iterator[tuple[bytes, ContentRecord, bytes]]:
    """Each content with its features; both are in order of their keys."""
    features = large.of("features")
    at, value = next(features, (b"", b""))
    for key, record in sorted(whole.contents.items()):
        while at and at < key:
            at, value = next(features, (b"", b""))
        yield key, record, value if at == key and not features_fault(value) else b""


def _add_content(writer: Writer, content: tuple[bytes, ContentRecord, bytes]) -> None:
    key, record, features = content
    writer.go_on_after(b"content", parse_number(key) - 1)
    writer.add_content(record.digest, records.to_fingerprint(record, None, None, features))


def _vectors(whole: Salvage, large: TableRows) -> Iterator[tuple[int, str, Any]]:
    models = {record.number: (name, record.width) for name, record in whole.models.items()}
    for key, raw in large.of("vectors"):
        name, width = models.get(int.from_bytes(key[:MODEL_BYTES], "big"), ("", 0))
        fv = records.sound_vector(raw, width) if key[MODEL_BYTES:] in whole.tables["contents"] else None
        if fv is not None:
            yield parse_number(key[MODEL_BYTES:]), name, fv


def _files(whole: Salvage) -> Iterator[tuple[bytes, FileRow]]:
    """The files with a known path and a whole content, or a failure."""
    known = {key: records.decode_file(raw) for key, raw in whole.tables["files"].items()}
    lost = {key: FileRow(UNREAD, FileState.INDEXED, parse_number(content)) for key, content in whole.lost_rows.items()}
    for key, row in (known | lost).items():
        is_whole = row.content is None or number(row.content) in whole.tables["contents"]
        if is_whole and whole.is_placed(parse_number(key)):
            yield whole.path(key), row


def _rows_by_number(whole: Salvage) -> Iterator[tuple[str, bytes, bytes]]:
    """Rows that follow from no others."""
    for table in ("alerts", "pending_alerts", "values", "decisions"):
        for key, value in whole.tables[table].items():
            yield table, key, value


def _rows_by_content(whole: Salvage, contents: Collection[bytes]) -> Iterator[tuple[str, bytes, bytes]]:
    """Relations, facts, and the decisions about each digest."""
    for key, raw in whole.tables["relations"].items():
        first, second = key[:NUMBER_BYTES], key[NUMBER_BYTES:]
        if raw and first in contents and second in contents:
            yield from (("relations", key, raw), ("relations", second + first, b""))
    for key, raw in whole.tables["facts"].items():
        if key in contents:
            yield "facts", key, raw
    for key, raw in whole.tables["decisions"].items():
        for digest in records.decode(raw, UserDecision).contents:
            yield "decided", digest + key, b""


def _go_on(writer: Writer, whole: Salvage) -> None:
    """Numbers that were given out are not given out again, and the clock goes on."""
    numbers = whole.tables["numbers"]
    for kind, table in COUNTERS.items():
        writer.go_on_after(kind, max(parse_number(numbers.get(kind, number(0))), whole.last(table)))
    for name in (b"clock", b"clock_wall", b"seen"):
        if name in numbers:
            writer.put_row("numbers", name, numbers[name])

"""Verified relations between contents, in one transaction, and the contents whose relations are still to be found.

A pair has two rows: the record under the smaller id first, an empty value under the larger id first. One scan by prefix
then finds all partners of a content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from msgspec import Struct, structs

from shazimd.store import records
from shazimd.store.keys import is_foreign_key
from shazimd.store.tables import (
    NUMBER_BYTES,
    Table,
    Tables,
    Transaction,
    derived,
    get,
    get_stored,
    keys_between,
    number,
    parse_number,
    put,
    raw_rows,
    scan,
)
from shazimd.types import (
    JUDGE,
    ContentId,
    Differences,
    Evidence,
    FileRow,
    Mapping,
    PictureFacts,
    Relation,
    Verdict,
    Verification,
)

_SURROGATES = "surrogatepass"


class RelationRecord(Struct, frozen=True, array_like=True):
    """A verified relation, from the content that was asked to the known one."""

    asked: ContentId
    known: ContentId
    verdict: Verdict
    inliers: int
    agreement: float | None
    mapping: Mapping | None
    differs: Differences | None
    evidence: Evidence | None = None
    judge: int = 0
    """missing in rows written before it was kept"""


class FactsRecord(Struct, frozen=True, array_like=True):
    camera: bytes
    captured: bytes
    jpeg_quality: int
    lossless: bool
    grey: bool


class RelationReader:
    def __init__(
        self, txn: Transaction, tables: Tables, note_damage: Callable[[ContentId], object] | None = None
    ) -> None:
        """``note_damage``: see ``Store.pass_over_damage``."""
        self._txn = txn
        self._t = tables
        self._note_damage = note_damage

    def between(self, a: ContentId, b: ContentId) -> Relation | None:
        """The relation of a pair, in either order; None without one."""
        record = self._record(_key(min(a, b), max(a, b)))
        return None if record is None else _to_relation(record)

    def partners(self, content: ContentId) -> list[ContentId]:
        """The contents related to this one, in order of id. Reads keys alone: also of a damaged relation."""
        keys = keys_between(self._txn, self._t.relations, number(content), number(content + 1))
        return [parse_number(key[NUMBER_BYTES:]) for key in keys]

    def of(self, content: ContentId) -> Iterator[tuple[ContentId, Relation]]:
        """The relations of a content, each with the partner, in order of the partner's id."""
        for partner in self.partners(content):
            if (relation := self.between(content, partner)) is not None:
                yield partner, relation

    def copies_of(self, content: ContentId) -> Iterator[tuple[ContentId, Relation]]:
        """As ``of``, of those with the verdict COPY."""
        return (found for found in self.of(content) if found[1].verification.verdict is Verdict.COPY)

    def outdated(self, content: ContentId) -> list[ContentId]:
        """The partners of a content whose relation is of another version of the judgement, in order of id."""
        return [partner for partner, relation in self.of(content) if relation.judge != JUDGE]

    def copies(self) -> Iterator[tuple[ContentId, ContentId, Evidence | None]]:
        """The pairs with the verdict COPY as (asked, known, evidence), by the smaller id. Reads all relations."""
        for key, stored in raw_rows(self._txn, self._t.relations, b""):
            record = records.sound(self._derived(key, stored), RelationRecord)
            if record and record.verdict is Verdict.COPY:
                yield record.asked, record.known, record.evidence

    def unrelated(self, limit: int, after: ContentId = 0) -> list[ContentId]:
        """Contents with id > ``after`` whose relations are still to be found, in order of id."""
        rows = scan(self._txn, self._t.unrelated, b"", number(after + 1))
        return [parse_number(key) for key, _ in islice(rows, limit)]

    def count_unrelated(self) -> int:
        return self._txn.stat(self._t.unrelated)["entries"]

    def twins(self) -> Iterator[list[ContentId]]:
        """The contents with equal pixels, for all pixels of two contents or more. Reads a row for each content."""
        same: list[bytes] = []
        last = b""
        for key in _keys(self._txn, self._t.pixels):
            pixels = key[:-NUMBER_BYTES]
            if pixels != last:
                if len(same) > 1:
                    yield [parse_number(each[-NUMBER_BYTES:]) for each in same]
                same, last = [], pixels
            same.append(key)
        if len(same) > 1:
            yield [parse_number(each[-NUMBER_BYTES:]) for each in same]

    def held_twice(self) -> Iterator[ContentId]:
        """The contents with two files or more on this host. Reads a row for each file."""
        last, told = b"", b""
        for key in _keys(self._txn, self._t.holders):
            if is_foreign_key(key[NUMBER_BYTES:]):
                continue
            holder = key[:NUMBER_BYTES]
            if holder == last != told:
                told = holder
                yield parse_number(holder)
            last = holder

    def rows(self, content: ContentId) -> Iterator[tuple[bytes, FileRow]]:
        """The files of a content on this host, as (name without directory, row)."""
        own = get(self._txn, self._t.contents, number(content))
        is_sound = records.sound(own, records.ContentRecord) is not None
        for key, _ in scan(self._txn, self._t.holders, number(content)) if is_sound else ():
            if is_foreign_key(key[NUMBER_BYTES:]):
                return
            raw = get(self._txn, self._t.files, key[NUMBER_BYTES:])
            if raw is not None:
                yield key[2 * NUMBER_BYTES :], records.decode_file(raw)

    def facts(self, content: ContentId) -> PictureFacts | None:
        """Facts about a content beside its fingerprint, None while unknown."""
        key = number(content)
        record = records.sound(self._derived(key, get_stored(self._txn, self._t.facts, key)), FactsRecord)
        return None if record is None else _to_facts(record)

    def _record(self, key: bytes) -> RelationRecord | None:
        return records.sound(self._derived(key, get_stored(self._txn, self._t.relations, key)), RelationRecord)

    def _derived(self, key: bytes, stored: bytes | None) -> bytes:
        return derived(key, stored, parse_number(key), self._note_damage)


class RelationWriter(RelationReader):
    def __init__(
        self,
        txn: Transaction,
        tables: Tables,
        note_damage: Callable[[ContentId], object] | None,
        written: set[ContentId],
    ) -> None:
        """``written`` gets the contents whose relations or facts are written."""
        super().__init__(txn, tables, note_damage)
        self._written = written

    def put(self, found: Iterable[Relation]) -> None:
        """Store relations, each in place of any other of its pair. Relations of unknown contents are passed over: a
        content may be removed while it is compared. Raises ValueError for a relation without a verdict."""
        for relation in found:
            low, high = sorted((relation.asked, relation.known))
            if low != high and self._is_known(low) and self._is_known(high):
                put(self._txn, self._t.relations, _key(low, high), records.encode(_to_record(relation)))
                put(self._txn, self._t.relations, _key(high, low), b"")
                self._written.update((low, high))

    def mark(self, content: ContentId) -> None:
        """Note that the relations of a content are still to be found."""
        put(self._txn, self._t.unrelated, number(content), b"")

    def mark_all(self) -> int:
        """Note that the relations of each content with features are still to be found, but for those that only other
        hosts have; the number of these contents."""
        marked = 0
        for key, raw in scan(self._txn, self._t.contents, b""):
            record = records.sound(raw, records.ContentRecord)
            if record is not None and record.features_version and not self._is_elsewhere(key):
                put(self._txn, self._t.unrelated, key, b"")
                marked += 1
        return marked

    def unmark(self, contents: Iterable[ContentId]) -> None:
        """Note that the relations of contents were found."""
        for content in contents:
            self._txn.delete(number(content), db=self._t.unrelated)

    def outdate(self, content: ContentId) -> None:
        """Count every relation of a content as one of another version, and note that they are still to be found."""
        self.mark(content)
        for partner in self.partners(content):
            key = _key(*sorted((content, partner)))
            record = self._record(key)
            if record is not None:
                put(self._txn, self._t.relations, key, records.encode(structs.replace(record, judge=0)))

    def remove_outdated(self, content: ContentId, partners: Iterable[ContentId]) -> None:
        """Remove the relations with these partners, but for those that the present version found meanwhile."""
        for partner in set(self.outdated(content)).intersection(partners):
            self.remove(content, partner)

    def forget(self, content: ContentId) -> None:
        """Remove every relation of a content, and its mark."""
        self.unmark([content])
        for partner in self.partners(content):
            self.remove(content, partner)

    def remove(self, a: ContentId, b: ContentId) -> None:
        """Remove the relation of a pair, whether or not it is sound."""
        self._txn.delete(_key(a, b), db=self._t.relations)
        self._txn.delete(_key(b, a), db=self._t.relations)
        self._written.update((a, b))

    def put_facts(self, content: ContentId, facts: PictureFacts) -> None:
        """Store the facts of a content; an unknown content is passed over."""
        if self._is_known(content):
            put(self._txn, self._t.facts, number(content), records.encode(_to_facts_record(facts)))
            self._written.add(content)

    def remove_facts(self, content: ContentId) -> None:
        self._txn.delete(number(content), db=self._t.facts)

    def _is_elsewhere(self, key: bytes) -> bool:
        first = next((held for held, _ in scan(self._txn, self._t.holders, key)), b"")
        return is_foreign_key(first[NUMBER_BYTES:])

    def _is_known(self, content: ContentId) -> bool:
        return get(self._txn, self._t.contents, number(content)) is not None


def _keys(txn: Transaction, table: Table) -> Iterator[bytes]:
    """The keys of a table without the checksums of their empty values: half the time of ``scan``."""
    with txn.cursor(table) as cursor:
        yield from cursor.iternext(keys=True, values=False)


def _key(first: ContentId, second: ContentId) -> bytes:
    return number(first) + number(second)


def _to_record(relation: Relation) -> RelationRecord:
    found = relation.verification
    if found.verdict is None:
        raise ValueError(f"contents {relation.asked} and {relation.known} have no verdict, expected a relation")
    return RelationRecord(
        relation.asked,
        relation.known,
        found.verdict,
        found.inliers,
        found.agreement,
        found.mapping,
        found.differs,
        relation.evidence,
        relation.judge,
    )


def _to_relation(record: RelationRecord) -> Relation:
    found = Verification(record.verdict, record.inliers, record.agreement, record.mapping, record.differs)
    return Relation(record.asked, record.known, found, record.evidence, record.judge)


def _to_facts_record(facts: PictureFacts) -> FactsRecord:
    """EXIF may hold any code point: surrogates are passed."""
    camera, captured = (text.encode("utf-8", _SURROGATES) for text in (facts.camera, facts.captured))
    return FactsRecord(camera, captured, facts.jpeg_quality, facts.lossless, facts.grey)


def _to_facts(record: FactsRecord) -> PictureFacts:
    camera, captured = (raw.decode("utf-8", _SURROGATES) for raw in (record.camera, record.captured))
    return PictureFacts(camera, captured, record.jpeg_quality, record.lossless, record.grey)

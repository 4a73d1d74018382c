"""Relations between contents, facts and decisions: rows of the store, in step with its contents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lmdb
import msgspec
import pytest
from msgspec import structs
from spoiled_rows import spoil

from shazimd.errors import StoreDamaged
from shazimd.fingerprint import Fingerprint
from shazimd.store import tables
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.store.tables import TABLES_MAX, number, put
from shazimd.types import (
    DecisionKind,
    Differences,
    Evidence,
    Mapping,
    PictureFacts,
    Relation,
    UserDecision,
    Verdict,
    Verification,
)

BOX = (0.1, 0.2, 0.3, 0.4)
FOUND = Verification(Verdict.VARIANT, 12, 0.9, Mapping(0.5, 90.0, True, BOX), Differences(0.25, ((BOX, BOX),)))
FACTS = PictureFacts("Canon \udcff", "2024:05:01 10:00:00", 92, False, True)
A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


def relation(asked: int, known: int) -> Relation:
    return Relation(asked, known, FOUND)


@pytest.fixture
def contents(store: Store, make_fingerprint: Callable[..., Fingerprint]) -> list[int]:
    """Three contents with features, without files."""
    return store.write(lambda w: [w.add_content(d, make_fingerprint(d[0], features=b"\x02abc")) for d in (A, B, C)])


def test_a_relation_is_read_as_it_was_written(store: Store, contents: list[int]) -> None:
    """With map, regions and evidence, whichever content is named first."""
    a, b, c = contents
    copy = replace(FOUND, verdict=Verdict.COPY)
    told = replace(relation(b, a), verification=copy, evidence=Evidence(("crop",), (), 0.5))
    store.write(lambda w: w.relations.put([told, relation(a, c)]))
    with store.read() as reader:
        r = reader.relations
        assert (r.between(a, b), r.between(b, a), r.between(b, c)) == (told, told, None)
        assert (r.partners(a), r.partners(b), r.partners(c)) == ([b, c], [a], [a])
        assert list(r.of(a)) == [(b, told), (c, relation(a, c))]
        assert list(r.copies()) == [(b, a, Evidence(("crop",), (), 0.5))]
    assert store.check() == []


def test_new_contents_are_marked_until_unmarked(store: Store, contents: list[int], make_fingerprint: Any) -> None:
    """A content without features has no relations to be found."""
    store.write(lambda w: w.add_content(b"4" * 32, make_fingerprint(4)))
    store.write(lambda w: w.relations.unmark([contents[1], 99]))
    with store.read() as reader:
        r = reader.relations
        assert (r.unrelated(9), r.unrelated(1), r.unrelated(9, after=contents[0])) == (
            [contents[0], contents[2]],
            [contents[0]],
            [contents[2]],
        )
        assert r.count_unrelated() == 2


def test_a_removed_content_leaves_nothing_behind(store: Store, contents: list[int]) -> None:
    """Neither relations nor marks nor facts; a relation found meanwhile is passed over."""
    a, b, c = contents
    store.write(
        lambda w: [
            w.relations.put([relation(a, b), relation(b, c)]),
            w.relations.put_facts(b, FACTS),
            w.relations.put_facts(a, FACTS),
        ]
    )
    store.write(lambda w: w.prune([b]))
    store.write(lambda w: [w.relations.put([relation(a, b)]), w.relations.put_facts(b, FACTS)])
    with store.read() as reader:
        r = reader.relations
        assert (r.partners(a), r.partners(b), r.partners(c)) == ([], [], [])
        assert (r.facts(a), r.facts(b), r.unrelated(9)) == (FACTS, None, [a, c])
    assert store.check() == []


def test_new_features_ask_for_new_relations(store: Store, contents: list[int]) -> None:
    """Relations by the former features are outdated, and the content is marked again; without features they go."""
    a, b, c = contents
    store.write(lambda w: [w.relations.put([relation(a, b), relation(c, a)]), w.relations.unmark(contents)])
    store.write(lambda w: w.put_features(b, b"\x02new"))
    with store.read() as reader:
        r = reader.relations
        assert (r.between(a, b), r.outdated(a), r.outdated(b)) == (replace(relation(a, b), judge=0), [b], [a])
        assert (r.between(a, c), r.unrelated(9)) == (relation(c, a), [b])
    store.write(lambda w: w.put_features(b, b""))
    with store.read() as reader:
        assert (reader.relations.partners(a), reader.relations.unrelated(9)) == ([c], [])


def test_a_relation_of_before_versions_were_kept_is_outdated(store: Store, contents: list[int]) -> None:
    """Its row ends before the version."""
    a, b, _ = contents
    store.write(lambda w: w.relations.put([relation(a, b)]))

    def shorten(writer: Writer) -> None:
        raw = tables.get(writer._txn, writer._t.relations, number(a) + number(b))
        assert raw is not None
        writer.put_row("relations", number(a) + number(b), msgspec.msgpack.encode(msgspec.msgpack.decode(raw)[:-1]))

    store.write(shorten)
    with store.read() as reader:
        assert reader.relations.between(a, b) == replace(relation(a, b), judge=0)
        assert reader.relations.outdated(a) == [b]


@pytest.mark.parametrize(("place", "content", "partner"), [(0, 0, 1), (1, 1, 0)])
def test_a_damaged_relation_reads_as_none_once_it_is_passed_over(
    store: Store, contents: list[int], place: int, content: int, partner: int
) -> None:
    """A read before that raises StoreDamaged. Keys are read unchecked: the partners stay. The row is noted for the
    content under which it is named as unsound."""
    a, b, c = contents
    copies = [replace(relation(b, known), verification=replace(FOUND, verdict=Verdict.COPY)) for known in (a, c)]
    store.write(lambda w: w.relations.put(copies))
    spoil(store, "relations", place)
    with store.read() as reader:
        with pytest.raises(StoreDamaged):
            list(reader.relations.copies())
        assert [reader.relations.partners(each) for each in contents] == [[b], [a, c], [b]]
    noted: list[int] = []
    store.pass_over_damage(noted.append)
    with store.read() as reader:
        r = reader.relations
        assert (r.between(a, b), r.between(c, b)) == (None if place == 0 else copies[0], copies[1])
        assert [r.partners(each) for each in contents] == [[b], [a, c], [b]]
        assert (b, c, None) in r.copies()
        assert set(noted) == {contents[content]}
        assert [found[:4] for found in reader.unsound.derived() if found.has_fault] == [
            (contents[content], "", (), (contents[partner],))
        ]
    store.write(lambda w: w.put_features(b, b"\x02new"))
    with store.read() as reader:
        assert reader.relations.outdated(b) == ([c] if place == 0 else [a, c])


def test_damaged_facts_read_as_none_once_they_are_passed_over(store: Store, contents: list[int]) -> None:
    store.write(lambda w: [w.relations.put_facts(content, FACTS) for content in contents])
    spoil(store, "facts", 1)
    with store.read() as reader, pytest.raises(StoreDamaged):
        reader.relations.facts(contents[1])
    noted: list[int] = []
    store.pass_over_damage(noted.append)
    with store.read() as reader:
        assert [reader.relations.facts(content) for content in contents] == [FACTS, None, FACTS]
        assert noted == [found.content for found in reader.unsound.derived() if found.facts] == [contents[1]]


def test_all_contents_with_features_are_marked(store: Store, contents: list[int], make_fingerprint: Any) -> None:
    """Those without can have no relations."""
    store.write(lambda w: [w.add_content(b"4" * 32, make_fingerprint(4)), w.relations.unmark(contents)])
    assert store.write(lambda w: w.relations.mark_all()) == 3
    with store.read() as reader:
        assert reader.relations.unrelated(9) == contents


def test_decisions_are_found_by_digest_and_undone(store: Store) -> None:
    """Contents need not be known; the same decision again has the same id."""
    apart = UserDecision(DecisionKind.NOT_DUPLICATES, (A, B), None, 1000, "2026-01-01T00:00:00Z")
    keep = UserDecision(DecisionKind.KEEP, (A, B, C), B)
    first = store.write(lambda w: w.decisions.add(apart))
    second = store.write(lambda w: w.decisions.add(keep))
    again = store.write(lambda w: w.decisions.add(structs.replace(apart, uid=1)))
    with store.read() as reader:
        d = reader.decisions
        assert again == first
        assert list(d.all()) == list(d.about(A)) == [(first, apart), (second, keep)]
        assert (list(d.all(after=first)), list(d.all(limit=1))) == ([(second, keep)], [(first, apart)])
        assert (list(d.about(C)), d.get(first), d.get(99)) == ([(second, keep)], apart, None)
    assert store.check() == []
    assert store.write(lambda w: (w.decisions.remove(first), w.decisions.remove(first))) == (apart, None)
    with store.read() as reader:
        assert (list(reader.decisions.about(A)), reader.decisions.get(first)) == ([(second, keep)], None)
    assert store.check() == []


@pytest.mark.parametrize(
    ("kind", "others", "same"),
    [(DecisionKind.NOT_DUPLICATES, True, False), (DecisionKind.LEAVE, True, True), (DecisionKind.KEEP, False, False)],
)
def test_a_decision_silences_pairs_of_its_contents(kind: DecisionKind, others: bool, same: bool) -> None:
    """Never pairs with another content; files with the same bytes only if they are to be left."""
    silences = UserDecision(kind, (A, B), A if kind is DecisionKind.KEEP else None).silences
    assert (silences(A, B), silences(B, A), silences(A, A)) == (others, others, same)
    assert (silences(A, C), silences(C, A), silences(C, C)) == (False, False, False)


def damaged(store: Store, change: Callable[[Any, Callable[[str], Any]], object]) -> list[str]:
    """The problems found after a change behind the store's back."""
    path = store.info()["path"]
    store.close()
    with lmdb.open(path, max_dbs=TABLES_MAX, map_size=1 << 26) as env, env.begin(write=True) as txn:
        change(txn, lambda name: env.open_db(name.encode(), txn=txn))
    again = open_store(path, 1 << 26)
    try:
        return again.check()
    finally:
        again.close()


def test_check_finds_a_relation_from_one_side(store: Store, contents: list[int]) -> None:
    a, b, _ = contents
    store.write(lambda w: w.relations.put([relation(a, b)]))
    problems = damaged(store, lambda txn, table: txn.delete(number(b) + number(a), db=table("relations")))
    assert problems == [f"the relation of contents {a} and {b} is known from one side only"]


def test_check_finds_rows_of_unknown_contents(store: Store, contents: list[int]) -> None:
    def change(txn: Any, table: Callable[[str], Any]) -> None:
        put(txn, table("unrelated"), number(9), b"")

    assert damaged(store, change) == ["relations are to be found of the unknown content 9"]


def test_check_finds_a_decision_that_is_not_found(store: Store) -> None:
    made = store.write(lambda w: w.decisions.add(UserDecision(DecisionKind.LEAVE, (A,))))
    problems = damaged(store, lambda txn, table: txn.delete(A + number(made), db=table("decided")))
    assert problems == [f"decision {made} is not found by the digest {A.hex()}"]

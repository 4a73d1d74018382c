"""Decisions of persons about contents, in one transaction; by digest, whether the contents are known or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from shazimd.store import records
from shazimd.store.tables import NUMBER_BYTES, Tables, Transaction, get, number, parse_number, put, scan
from shazimd.types import Digest, UserDecision


class DecisionReader:
    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn = txn
        self._t = tables

    def all(self, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, UserDecision]]:
        """Decisions with id > ``after``, oldest first, as (id, decision)."""
        rows = scan(self._txn, self._t.decisions, b"", number(after + 1))
        found = ((parse_number(key), records.sound(raw, UserDecision)) for key, raw in rows)
        yield from islice(((key, decision) for key, decision in found if decision is not None), limit)

    def about(self, digest: Digest) -> Iterator[tuple[int, UserDecision]]:
        """The decisions about one content, oldest first, as (id, decision)."""
        for key, _ in scan(self._txn, self._t.decided, digest):
            decision = parse_number(key[-NUMBER_BYTES:])
            found = self.get(decision)
            if found is not None:
                yield decision, found

    def get(self, decision: int) -> UserDecision | None:
        return records.sound(get(self._txn, self._t.decisions, number(decision)), UserDecision)


class DecisionWriter(DecisionReader):
    def __init__(self, txn: Transaction, tables: Tables, next_id: Callable[[], int]) -> None:
        super().__init__(txn, tables)
        self._next_id = next_id

    def add(self, decision: UserDecision) -> int:
        """Store a decision; its id. A decision like a stored one, whoever made it, has the id of the stored one."""
        for known_id, known in self.about(decision.contents[0]):
            if _meaning(known) == _meaning(decision):
                return known_id
        new = self._next_id()
        put(self._txn, self._t.decisions, number(new), records.encode(decision))
        for digest in decision.contents:
            put(self._txn, self._t.decided, digest + number(new), b"")
        return new

    def remove(self, decision: int) -> UserDecision | None:
        """Take a decision back; None for an unknown id."""
        known = self.get(decision)
        if known is not None:
            self._txn.delete(number(decision), db=self._t.decisions)
            for digest in known.contents:
                self._txn.delete(digest + number(decision), db=self._t.decided)
        return known


def _meaning(decision: UserDecision) -> tuple[object, ...]:
    return decision.kind, decision.contents, decision.keep, decision.keep_path

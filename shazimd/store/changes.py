"""The changes of this host's files, numbered in the transactions that make them, for other hosts to follow.

A change names a path; a reader looks up the present state. A path has at most a single change, the last, so a busy file
takes one row. Only the last CHANGES_MAX are kept: a reader further behind reads all files anew.

A *position* is a number and the id of the opening in which the number was given out. After a restore from a backup,
numbers are given out for a second time, but in another opening: a position of the lost time is recognised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from shazimd.store import records
from shazimd.store.tables import Tables, Transaction, get, get_number, number, parse_number, pop, put, scan
from shazimd.types import decodable

CHANGES_MAX = 1_000_000
"""Some 150 MB."""
OPENINGS_MAX = 100
"""A reader that has not asked for so many starts of the daemon reads all files anew."""
_OPENINGS = b"openings"
_LAST = b"change"


class Opening(NamedTuple):
    """A time in which a daemon had the store open and numbered its changes."""

    after: int
    """the last number before"""
    id: str


class ChangeReader:
    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn = txn
        self._t = tables

    def openings(self) -> list[Opening]:
        """Oldest first; none while changes are not numbered."""
        raw = get(self._txn, self._t.values, _OPENINGS)
        try:
            return [] if raw is None else msgspec.convert(records.sound_json(raw), decodable(list[Opening]))
        except msgspec.ValidationError:  # another program wrote it
            return []

    def last(self) -> int:
        """The number of the last change, 0 before the first."""
        return get_number(self._txn, self._t, _LAST)

    def after(self, last: int) -> Iterator[tuple[int, bytes]]:
        """The changes with a greater number as (number, path), in order."""
        for key, path in scan(self._txn, self._t.changes, b"", number(last + 1)):
            yield parse_number(key), path

    def opening_of(self, last: int) -> str:
        """The id of the opening in which a number was given out; of the first of two that it stands between."""
        spans = self.openings()
        ends = [*(each.after for each in spans[1:]), self.last()]
        return next(each.id for each, end in zip(spans, ends, strict=True) if each.after <= last <= end)

    def reaches_back_to(self, last: int, opening: str) -> bool:
        """Whether every change after a position is known, and the position is of this store."""
        spans = self.openings()
        ends = [*(each.after for each in spans[1:]), self.last()]
        if not any(each.id == opening and each.after <= last <= end for each, end in zip(spans, ends, strict=True)):
            return False
        return last >= get_number(self._txn, self._t, b"change_dropped")  # the greatest that was dropped for its age


class ChangeWriter(ChangeReader):
    def begin(self, opening: str) -> None:
        """Number changes from now on, under a new id."""
        spans = [*self.openings(), Opening(self.last(), opening)][-OPENINGS_MAX:]
        put(self._txn, self._t.values, _OPENINGS, records.encode_json(spans))

    def end(self) -> None:
        """Number no changes any more, and drop those that are kept."""
        if self.openings():
            self._txn.delete(_OPENINGS, db=self._t.values)
            for table in (self._t.changes, self._t.changed):
                self._txn.drop(table, delete=False)

    def note(self, path: bytes) -> None:
        """Number a change of a path, in place of an earlier change of the path."""
        changed = changed_key(path)
        before = get(self._txn, self._t.changed, changed)
        if before is not None:
            self._txn.delete(before, db=self._t.changes)
        last = number(self.last() + 1)
        put(self._txn, self._t.numbers, _LAST, last)
        put(self._txn, self._t.changes, last, path, append=True)
        put(self._txn, self._t.changed, changed, last)
        if self._txn.stat(self._t.changes)["entries"] > CHANGES_MAX:
            self._drop_first()

    def _drop_first(self) -> None:
        with self._txn.cursor(self._t.changes) as cursor:
            cursor.first()
            first = cursor.key()
        path = pop(self._txn, self._t.changes, first)
        assert path is not None
        self._txn.delete(changed_key(path), db=self._t.changed)
        put(self._txn, self._t.numbers, b"change_dropped", first)


def changed_key(path: bytes) -> bytes:
    """The key of a path in ``changed``: BLAKE2b-128."""
    return hashlib.blake2b(path, digest_size=16).digest()

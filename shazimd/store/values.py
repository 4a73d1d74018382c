"""Writing of all that is neither a file nor a content: numbers, the clock, small values, alerts."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from shazimd.fingerprint import Query
from shazimd.store import records
from shazimd.store.changes import ChangeWriter
from shazimd.store.decisions import DecisionWriter
from shazimd.store.reader import Reader
from shazimd.store.records import ContentRecord, PendingAlertRecord
from shazimd.store.relations import RelationWriter
from shazimd.store.tables import number, put, scan
from shazimd.store.unsound import UnsoundWriter
from shazimd.types import ContentId, Digest


class ValueWriter(Reader):
    """The part of a write transaction that ``Writer`` stands on."""

    @property
    def relations(self) -> RelationWriter:
        return RelationWriter(self._txn, self._t, self._sight.note_damage, self.regrouped)

    @cached_property
    def regrouped(self) -> set[ContentId]:
        """The contents whose files, relations or facts were written."""
        return set()

    @property
    def decisions(self) -> DecisionWriter:
        return DecisionWriter(self._txn, self._t, lambda: self._next(b"decision"))

    @cached_property
    def changes(self) -> ChangeWriter:
        return ChangeWriter(self._txn, self._t)

    @property
    def unsound(self) -> UnsoundWriter:
        return UnsoundWriter(self._txn, self._t)

    def set(self, key: str, value: Any) -> None:
        """Store a small value (plain JSON) under a name; None removes it."""
        if value is None:
            self._txn.delete(key.encode(), db=self._t.values)
        else:
            put(self._txn, self._t.values, key.encode(), records.encode_json(value))

    def go_on_after(self, kind: bytes, last: int) -> None:
        """Let the next number of a kind be above ``last``. For ``repair`` and ``restore``."""
        put(self._txn, self._t.numbers, kind, number(max(last, self._last(kind))))

    def put_row(self, table: str, key: bytes, value: bytes) -> None:
        """Write a row as it was read. For ``repair``."""
        put(self._txn, getattr(self._t, table), key, value)

    def advance_clock(self) -> None:
        """Let ``clock`` and ``seen_s`` go on from here. To be called at least once a day."""
        now = self.clock()
        self.keep_seen()
        put(self._txn, self._t.numbers, b"clock", number(now))
        put(self._txn, self._t.numbers, b"clock_wall", number(max(0, int(self._sight.wall_clock()))))

    def keep_seen(self) -> None:
        """Let ``seen_s`` go on from here after a crash."""
        put(self._txn, self._t.numbers, b"seen", number(self.seen_s()))

    def add_alert(self, record: dict[str, Any]) -> int:
        """Store an alert (plain JSON values); its id."""
        alert = self._next(b"alert")
        put(self._txn, self._t.alerts, number(alert), records.encode_json(record), append=True)
        return alert

    def add_pending_alert(self, path: bytes, query: Query, digest: Digest = b"") -> int:
        """Store a file whose alert is not decided yet, with the query that decides it; the number of the pending alert.

        Numbers grow. Vectors are kept as float16. ``digest`` of the file's bytes: matches on other hosts are to be
        looked for."""
        pending = self._next(b"pending_alert")
        put(self._txn, self._t.pending_alerts, number(pending), records.encode_pending_alert(path, query, digest))
        return pending

    def remove_pending_alert(self, pending: int) -> bool:
        """Remove a pending alert; False for an unknown number."""
        return self._txn.delete(number(pending), db=self._t.pending_alerts)

    def _next(self, kind: bytes) -> int:
        """A number never given out before for this kind."""
        return self._add(kind, 1)

    def _add(self, name: bytes, change: int) -> int:
        value = self._last(name) + change
        put(self._txn, self._t.numbers, name, number(value))
        return value

    def _drop_pending_alerts(self) -> None:
        """Remove pending alerts of unknown files and of pictures replaced by others: nothing is left to
        decide, and each holds a whole fingerprint."""
        for key, raw in list(scan(self._txn, self._t.pending_alerts, b"")):
            record = records.sound(raw, PendingAlertRecord)
            if record is None:
                continue
            digest = record.content.digest
            if self.content(digest) is None if digest else not self._has_picture(record.path, record.content):
                self._txn.delete(key, db=self._t.pending_alerts)

    def _has_picture(self, path: bytes, picture: ContentRecord) -> bool:
        """Whether a file has the content of this picture, or a content of the same pixels; without pixels, of the same
        size. A file of an unsound content counts as such."""
        row = self.file(path)
        if row is None or row.content is None:
            return False
        known = self._sound_content(number(row.content))
        if known is None:
            return True
        if known.pixels or picture.pixels:
            return known.pixels == picture.pixels
        return (known.width, known.height) == (picture.width, picture.height)

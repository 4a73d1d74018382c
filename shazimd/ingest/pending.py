"""Pending alerts: stored files whose alerts are not decided yet.

A pending alert is decided once. While files of its matches are missing it is put off: their renames may not be in the
store yet. It is tried again when a missing file's row was moved or removed, and for the last time when all events and
scans before it were handled.

While vectors or local features are to be made that it needs, it is held: the model is being installed, or the backfill
is at work. Of a held alert only the numbers are kept in memory: the store has the rest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shazimd.errors import WorkerLost
from shazimd.fingerprint import Query
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.arrivals import Arrivals
from shazimd.ingest.commit import Committer
from shazimd.ingest.decision import Candidate, Decider, Decision, OwnDecisions
from shazimd.ingest.disk import Disk
from shazimd.ingest.identify import query_of
from shazimd.ingest.retries import DELAY_S, TRIES_MAX
from shazimd.protocol import Alert
from shazimd.search.library import Library
from shazimd.store.base import Reader, Writer
from shazimd.types import ContentId

if TYPE_CHECKING:
    from shazimd.telemetry.metrics import Metrics

log = structlog.get_logger()

PATIENCE_S = 60.0
"""Longest delay of a decision while events keep coming and no directory is being scanned."""
RELEASED = 64
"""Held alerts that are in memory at a time when they are decided: their queries take some 20 kB each."""


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """A stored file with an undecided alert."""

    number: int
    """the store's number of the pending alert"""
    path: bytes
    content: ContentId | None
    query: Query
    arrival: int
    started: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class _PutOff:
    pending: PendingAlert
    missing: Sequence[bytes] = ()
    """files of its matches"""
    tries: int = 0
    """how often workers were lost"""
    again_at: float = inf
    """``time.perf_counter`` of the next try, after a lost worker"""
    is_taken: bool = False
    """handed out by ``due``"""


class _HeldAlert(NamedTuple):
    arrival: int
    content: ContentId | None
    """the one for which it waits; None: for all vectors"""


class PendingAlerts:
    """Safe from any thread."""

    def __init__(
        self,
        library: Library,
        committer: Committer,
        alerts: Alerts,
        decider: Decider,
        disk: Disk,
        arrivals: Arrivals,
        metrics: Metrics,
    ) -> None:
        self._library = library
        self._store = library.store
        self._committer = committer
        self._alerts = alerts
        self._decider = decider
        self._disk = disk
        self._arrivals = arrivals
        self._metrics = metrics
        self._lock = threading.Lock()
        self._put_off: dict[int, _PutOff] = {}
        self._held: dict[int, _HeldAlert] = {}
        """held alerts by number"""

    def __len__(self) -> int:
        """Number of alerts put off or held."""
        with self._lock:
            return len(self._put_off) + len(self._held)

    def left(self) -> list[PendingAlert]:
        """The alerts left undecided by an earlier run of the daemon, in the order of their files' arrival; outdated
        contents of these files are wanted from the backfill."""
        self._remove_unsound()
        with self._store.read() as reader:
            left = [(number, path, query, reader.file(path)) for number, path, query in reader.pending_alerts()]
            for content in {row.content for *_, row in left if row and row.content is not None}:
                if reader.knows(content) and self._library.is_outdated(reader, content):
                    self._library.filling.want(content)
        pending = []
        for number, path, query, row in left:
            arrival = self._arrivals.add(path)
            self._arrivals.publish(arrival, undecided=True)
            pending.append(PendingAlert(number, path, row.content if row else None, query, arrival))
        return pending

    def _remove_unsound(self) -> None:
        """Remove pending alerts that can't be decided, with the rows of their files, which a scan then finds."""
        with self._store.read() as reader:
            unsound = list(reader.unsound.pending_alerts())
        for number, path in unsound:
            log.warning("pending_alert_unsound", number=number, path=path)
            self._committer.submit(partial(_remove_unsound, number=number, path=path)).result()

    def decide(self, pending: PendingAlert, *, is_last: bool = False) -> bool:
        """Search for matches of a stored file, and replace its pending alert by the alert, if any.

        False if the alert was put off: files of matches are missing (never with ``is_last``), a worker was lost, or
        vectors or local features are to be made. Raises WorkerFailed."""
        is_wanted = self._library.filling.is_wanted(pending.content)
        if is_wanted or self._library.awaits_vectors(pending.query.fingerprint.model):
            self._hold(pending)
            return False
        put_off = None
        try:
            found, decided = self._disk.glance(pending.path), self._decided(pending.content)
            file = Candidate(pending.path, found, pending.started, pending.arrival, decided)
            decision = self._decider.by_search(file, self.with_vector(pending.query, pending.content), pending.content)
            if not decision.is_final and not is_last:
                put_off = _PutOff(pending, decision.missing)
            else:
                self._commit(pending, decision, is_missing=self._disk.is_missing(pending.path))
        except WorkerLost as error:
            if (put_off := self._after_loss(pending)) is None:
                raise
            log.info("alert_postponed", path=pending.path, reason=str(error), cause=error.code)
        finally:  # after a fault the next start of the daemon decides; until then no search must wait for this one
            self._note(pending, put_off)
        return put_off is None

    def due(self, *, is_scanning: bool, is_behind: bool) -> list[tuple[PendingAlert, bool]]:
        """The alerts to decide now, each with the ``is_last`` for ``decide``.

        ``is_scanning``: directories are being compared; ``is_behind``: events or files wait for their ingest."""
        due = [(each, False) for each in self._released()]
        with self._lock:
            waiting = [each for each in self._put_off.values() if not each.is_taken]
        if not waiting:
            return due
        now = time.perf_counter()
        with self._store.read() as reader:
            for each in waiting:
                is_late = now - each.pending.started > PATIENCE_S
                is_last = bool(each.missing) and not is_scanning and (not is_behind or is_late)
                if is_last or now >= each.again_at or any(reader.file(path) is None for path in each.missing):
                    each.is_taken = True
                    due.append((each.pending, is_last))
        return due

    def directories(self) -> set[bytes]:
        """Directories of the missing files: a scan may find the files elsewhere."""
        with self._lock:
            return {os.path.dirname(path) for each in self._put_off.values() for path in each.missing}

    def with_vector(self, query: Query, content: ContentId | None) -> Query:
        """The query of a stored picture with the vector and the local features that were made of it since, if any."""
        model = self._library.model_id
        lacks_features = self._library.features_version is not None and not query.features
        if content is None or (query.fingerprint.model == model and not lacks_features):
            return query
        with suppress(KeyError), self._store.read() as reader:  # removed for good
            known = reader.fingerprint(content, model)
            if lacks_features and known.features:
                return query_of(known)
            fingerprint = replace(query.fingerprint, signals=known.signals, model=known.model)
            orientations = tuple(replace(signals, fv=known.signals.fv) for signals in query.orientations)
            return replace(query, fingerprint=fingerprint, orientations=orientations)
        return query

    def settle(self, writer: Writer, content: ContentId, decision: Decision) -> Alert | None:
        """Store the result of a decision about a content's file, with the file's row or after it: relations, and the
        alert for ``publish``."""
        writer.relations.put(decision.relations(content))
        return self._alerts.keep(writer, decision.alert) if decision.alert else None

    def publish(self, alert: Alert | None) -> None:
        """Count, log and send a stored alert."""
        if alert:
            self._metrics.alert_told(alert["verdict"])
            self._alerts.publish(alert)

    def _hold(self, pending: PendingAlert) -> None:
        with self._lock:
            is_first = not self._held
            content = pending.content if self._library.filling.is_wanted(pending.content) else None
            self._held[pending.number] = _HeldAlert(pending.arrival, content)
            self._put_off.pop(pending.number, None)
        if is_first:
            log.info("alerts_held", path=pending.path, model=self._library.model_id)

    def _released(self) -> list[PendingAlert]:
        """Some of the held alerts, once their content was made, or all vectors are there or no model comes."""
        if not self._held:
            return []
        awaits, is_wanted = self._library.awaits_vectors(), self._library.filling.is_wanted
        with self._lock:
            room = RELEASED - sum(each.is_taken for each in self._put_off.values())
            held = {
                number: each.arrival
                for number, each in (self._held.items() if room > 0 else ())
                if not (awaits if each.content is None else is_wanted(each.content))
            }
        if not held:
            return []
        released = []
        with self._store.read() as reader:
            notes = ((note, held[note[0]]) for note in reader.pending_alerts() if note[0] in held)
            for (number, path, query), arrival in islice(notes, room):
                row = reader.file(path)
                released.append(PendingAlert(number, path, row.content if row else None, query, arrival))
        gone = held if not released else {}
        with self._lock:
            for number in gone:
                del self._held[number]
            for each in released:
                del self._held[each.number]
                self._put_off[each.number] = _PutOff(each, is_taken=True)
        for arrival in gone.values():
            self._arrivals.decided(arrival)
        if released:
            log.info("alerts_released", alerts=len(released), model=self._library.model_id)
        return released

    def _commit(self, pending: PendingAlert, decision: Decision, *, is_missing: bool) -> None:
        def work(writer: Writer) -> Alert | None:
            writer.remove_pending_alert(pending.number)
            row = writer.file(pending.path)
            if row is None or not is_same_picture(writer, row.content, pending.content):
                return None
            if is_missing:
                writer.remove_file(pending.path)
                return None
            assert row.content is not None, "it has the picture of a content"
            return self.settle(writer, row.content, decision)

        self._committer.submit(work, self.publish, may_linger=decision.alert is None).result()

    def _decided(self, content: ContentId | None) -> OwnDecisions | None:
        if content is not None:
            with suppress(KeyError), self._store.read() as reader:  # removed for good
                return OwnDecisions.read(reader, reader.digest(content))
        return None

    def _after_loss(self, pending: PendingAlert) -> _PutOff | None:
        """The next try after a lost worker; None if there is to be none before the next start."""
        with self._lock:
            before = self._put_off.get(pending.number)
        tries = before.tries + 1 if before else 1
        if tries >= TRIES_MAX:
            return None
        return _PutOff(pending, (), tries, time.perf_counter() + DELAY_S * 2.0 ** (tries - 1))

    def _note(self, pending: PendingAlert, put_off: _PutOff | None) -> None:
        with self._lock:
            if put_off is not None:
                self._put_off[pending.number] = put_off
            else:
                self._put_off.pop(pending.number, None)
        if put_off is None:
            self._arrivals.decided(pending.arrival)


def is_same_picture(reader: Reader, content: ContentId | None, other: ContentId | None) -> bool:
    """Whether two contents have the same bytes or the same pixels: a change of metadata shows nothing new."""
    if content is None or other is None:
        return False
    return content == other or other in reader.twins(content)


def _remove_unsound(writer: Writer, number: int, path: bytes | None) -> None:
    writer.remove_pending_alert(number)
    if path:
        writer.remove_file(path)

"""Alerts of near-duplicates: stored, logged, and passed to subscribers.

An alert is in the store exactly once, and in the log at least once: alerts stored but perhaps not logged before
a crash are logged at the next start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import structlog

from shazimd.errors import StoreFull
from shazimd.ingest.commit import Committer
from shazimd.ingest.values import last_logged_alert, set_last_logged_alert
from shazimd.protocol import Alert, DiffersMessage, Region
from shazimd.store.base import Reader, Store, Writer
from shazimd.text import SIMILARITIES, path_bytes, path_fields, path_fields_as
from shazimd.types import Differences, Match, Similarities, Verdict, rounded_score

log = structlog.get_logger()

SUBSCRIBER_BACKLOG_MAX = 1000

Inbox: TypeAlias = "queue.Queue[Alert | None]"


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert in the store (see FORMAT.md, "Alerts"): a new file, and the best of its matches."""

    path: bytes
    match: bytes
    score: float
    similarities: Similarities
    verdict: Verdict
    matches: int
    took_ms: float
    time: str
    """RFC 3339, UTC"""
    differs: DiffersMessage | None = None
    """of a variant: the regions with different content; None in records of older versions, too"""
    bank: bytes | None = None
    """the directory of ``only_against`` that has the match"""
    damaged: bool = False
    """the new file ends early or has broken parts"""

    @classmethod
    def of(cls, path: bytes, best: Match, matches: int, took_ms: float, bank: bytes | None = None) -> AlertRecord:
        """The alert of a new file, its best match, the number of all, and the bank of the best."""
        similarities = Similarities(None if each is None else rounded_score(each) for each in best.similarities)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        score = rounded_score(best.score)
        differs = best.verification.differs if best.verification else None
        return cls(
            *(path, best.path, score, similarities, best.verdict, matches, round(took_ms, 1), now),
            differs=differs_message(differs) if differs else None,
            bank=bank,
        )

    def encode(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            **path_fields(self.path),
            **path_fields_as("match", self.match),
            "score": self.score,
            **self.similarities.named(),
            "verdict": self.verdict.value,
            "matches": self.matches,
            "took_ms": self.took_ms,
            "time": self.time,
            "differs": self.differs,
            **(path_fields_as("bank", self.bank) if self.bank is not None else {}),
            **({"damaged": True} if self.damaged else {}),
        }

    @classmethod
    def decode(cls, raw: dict[str, Any]) -> AlertRecord:
        return cls(
            path_bytes(raw),
            path_bytes(raw, "match"),
            raw["score"],
            Similarities(raw.get(name) for name in SIMILARITIES),
            Verdict(raw["verdict"]),
            raw["matches"],
            raw["took_ms"],
            raw["time"],
            raw.get("differs"),
            path_bytes(raw, "bank") if "bank" in raw else None,
            raw.get("damaged", False),
        )


def as_wire(number: int, record: AlertRecord) -> Alert:
    """A stored alert in the form for clients and the log."""
    return cast(Alert, {"id": number, **record.encode()})


def differs_message(differences: Differences) -> DiffersMessage:
    """The regions of a variant, as messages and records have them."""
    regions: list[Region] = [{"query": query, "match": match} for query, match in differences.regions]
    return {"share": differences.share, "regions": regions}


def stored(reader: Reader, since: int, limit: int | None = None) -> list[Alert]:
    """Stored alerts with id > ``since``, oldest first."""
    return [as_wire(number, AlertRecord.decode(raw)) for number, raw in reader.alerts(after=since, limit=limit)]


def log_related(path: bytes, others: Sequence[Match], *, alerts: bool) -> None:
    """Log matches whose verdicts raise no alert: the best that stands out at info unless the file raises an alert, the
    rest at debug."""
    told = None if alerts else next((match for match in others if match.stands_out), None)
    for match in others:
        write = log.info if match is told else log.debug
        write(
            "related_image",
            **path_fields(path),
            **path_fields_as("match", match.path),
            verdict=match.verdict.value,
            score=rounded_score(match.score),
        )


class Alerts:
    """Publishes stored alerts in the order of their ids."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._committer = committer
        self._lock = threading.Lock()
        self._subscribers: list[Inbox] = []
        with store.read() as reader:
            self._logged = last_logged_alert(reader)
            unlogged = stored(reader, since=self._logged)
            before = stored(reader, since=self._logged - 1, limit=1) if self._logged else []
        self._noted: Writer | None = None
        """the transaction that last stored the id of the last logged alert"""
        self.last: Alert | None = before[0] if before else None
        """the latest alert of all"""
        for alert in unlogged:
            self.publish(alert)

    def keep(self, writer: Writer, record: AlertRecord) -> Alert:
        """Store an alert, and the id of the last logged alert, once in a transaction: it grows between two."""
        if self._noted is not writer:
            set_last_logged_alert(writer, self._logged)
            self._noted = writer
        return as_wire(writer.add_alert(record.encode()), record)

    def publish(self, alert: Alert) -> None:
        """Log a stored alert and pass it to the subscribers. Calls must be in the order of the ids."""
        facts = {key: value for key, value in alert.items() if key not in ("id", "time", "differs")}
        if differs := alert.get("differs"):
            facts["differs"] = rounded_score(differs["share"])  # a line of the log is no place for boxes
        log.warning("near_duplicate", **facts, alert_id=alert["id"])
        with self._lock:
            self._logged = alert["id"]
            self.last = alert
            for subscriber in list(self._subscribers):
                if subscriber.qsize() < SUBSCRIBER_BACKLOG_MAX:
                    subscriber.put_nowait(alert)
                else:
                    self._drop(subscriber)

    @contextmanager
    def subscribe(self) -> Iterator[Inbox]:
        """While entered, a queue of new alerts. A full queue is dropped: all that it has stays, then comes None."""
        inbox: Inbox = queue.Queue(SUBSCRIBER_BACKLOG_MAX + 1)
        with self._lock:
            self._subscribers.append(inbox)
        try:
            yield inbox
        finally:
            with self._lock:
                if inbox in self._subscribers:
                    self._subscribers.remove(inbox)

    def close(self) -> None:
        """Store the id of the last logged alert: the next start logs none twice."""
        try:
            with self._committer.giving_up_when_full():
                self._committer.submit(lambda writer: set_last_logged_alert(writer, self._logged)).result()
        except StoreFull as error:
            log.warning("alerts_may_repeat", reason=str(error))

    def _drop(self, subscriber: Inbox) -> None:
        # Without the oldest alert, a client that connects again after the latest would never get it.
        self._subscribers.remove(subscriber)
        with suppress(queue.Full):  # it has its end already, since the server stops
            subscriber.put_nowait(None)

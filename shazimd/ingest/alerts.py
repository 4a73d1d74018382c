"""Where a near-duplicate is told: the log, the store, and whoever subscribed.

An alert is in the store exactly once, and in the log at least once: what was stored but perhaps not logged before a
crash is logged at the next start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import structlog

from shazimd.errors import StoreFull
from shazimd.protocol import Alert
from shazimd.store.base import Reader, Store, Writer
from shazimd.text import path_fields
from shazimd.types import Match

log = structlog.get_logger()

_TOLD = "alerts_told"

SUBSCRIBER_BACKLOG_MAX = 1000

Record = dict[str, Any]
Inbox: TypeAlias = "queue.Queue[Alert | None]"


def record(path: bytes, matches: list[Match], took_ms: float) -> Record:
    """What is stored and told of a new file and its matches, best match first; plain JSON values."""
    best = matches[0]
    dah, ddh, dfv = (None if s is None else round(s, 4) for s in best.similarities)
    return {
        **path_fields(path),
        **path_fields(best.path, "match"),
        "score": round(best.score, 4),
        "dah": dah,
        "ddh": ddh,
        "dfv": dfv,
        "verdict": best.verdict.value,
        "matches": len(matches),
        "took_ms": round(took_ms, 1),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def stored(reader: Reader, since: int, limit: int | None = None) -> list[Alert]:
    """Stored alerts with id > ``since``, oldest first, as they are told."""
    return [cast(Alert, {"id": alert_id, **alert}) for alert_id, alert in reader.alerts(after=since, limit=limit)]


class Alerts:
    """Tells stored alerts in the order of their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._subscribers: list[Inbox] = []
        with store.read() as reader:
            self._told: int = reader.get(_TOLD) or 0
            untold = stored(reader, since=self._told)
        for alert in untold:
            self.tell(alert)

    def keep(self, writer: Writer, alert: Record) -> Alert:
        """Store an alert, and how far the log is; the alert with its id."""
        writer.set(_TOLD, self._told)
        return cast(Alert, {"id": writer.add_alert(alert), **alert})

    def tell(self, alert: Alert) -> None:
        """Log a stored alert and hand it to the subscribers. To be called in the order of the ids."""
        facts = {key: value for key, value in alert.items() if key not in ("id", "time")}
        log.warning("near_duplicate", **facts, alert_id=alert["id"])
        with self._lock:
            self._told = alert["id"]
            for subscriber in list(self._subscribers):
                try:
                    subscriber.put_nowait(alert)
                except queue.Full:
                    self._drop(subscriber)

    @contextmanager
    def subscribe(self) -> Iterator[Inbox]:
        """While entered, a queue of the alerts told from now on. One that is not emptied is dropped: None ends it."""
        inbox: Inbox = queue.Queue(SUBSCRIBER_BACKLOG_MAX)
        with self._lock:
            self._subscribers.append(inbox)
        try:
            yield inbox
        finally:
            with self._lock:
                if inbox in self._subscribers:
                    self._subscribers.remove(inbox)

    def close(self) -> None:
        """Note how far the log is, so that the next start repeats nothing."""
        try:
            self._store.write(lambda writer: writer.set(_TOLD, self._told))
        except StoreFull as error:
            log.warning("alerts_may_repeat", reason=str(error))

    def _drop(self, subscriber: Inbox) -> None:
        self._subscribers.remove(subscriber)
        subscriber.get_nowait()
        subscriber.put_nowait(None)

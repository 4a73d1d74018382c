"""Where a near-duplicate is told: the log, the store, and whoever subscribed.

An alert is in the store exactly once, and in the log at least once: what was stored but perhaps not logged before a
crash is logged at the next start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from shazimd.store.base import Reader, Store, Writer
from shazimd.text import path_fields
from shazimd.types import Match

log = structlog.get_logger()

SUBSCRIBER_BACKLOG_MAX = 1000
_TOLD = "alerts_told"

Record = dict[str, Any]


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
    }


class Alerts:
    """Tells alerts in the order of their ids."""

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[queue.Queue[Record | None]] = set()
        with store.read() as reader:
            self._told = reader.get(_TOLD) or 0
            untold = list(reader.alerts(after=self._told))
        for alert_id, alert in untold:
            self.tell(alert_id, alert)

    def store(self, writer: Writer, alert: Record) -> int:
        """Keep an alert, and how far the log is; the alert's id."""
        writer.set(_TOLD, self._told)
        return writer.add_alert(alert)

    def tell(self, alert_id: int, alert: Record) -> None:
        """Log a stored alert and hand it to the subscribers."""
        log.warning("near_duplicate", **alert, alert_id=alert_id)
        with self._lock:
            self._told = max(self._told, alert_id)
            for subscriber in list(self._subscribers):
                try:
                    subscriber.put_nowait({"id": alert_id, **alert})
                except queue.Full:
                    self._drop(subscriber)

    @contextmanager
    def subscribe(self) -> Iterator[queue.Queue[Record | None]]:
        """A queue of the alerts told from now on. One that is not emptied is dropped: its last item is None."""
        mine: queue.Queue[Record | None] = queue.Queue(SUBSCRIBER_BACKLOG_MAX)
        with self._lock:
            self._subscribers.add(mine)
        try:
            yield mine
        finally:
            with self._lock:
                self._subscribers.discard(mine)

    def close(self, store: Store) -> None:
        """End the subscriptions and note how far the log is."""
        with self._lock:
            for subscriber in list(self._subscribers):
                self._drop(subscriber)
        store.write(lambda writer: writer.set(_TOLD, self._told))

    def _drop(self, subscriber: queue.Queue[Record | None]) -> None:
        self._subscribers.discard(subscriber)
        if subscriber.full():
            subscriber.get_nowait()
        subscriber.put_nowait(None)


def stored(reader: Reader, since: int, limit: int | None = None) -> list[Record]:
    """Stored alerts with id > ``since``, oldest first, as subscribers see them."""
    return [{"id": alert_id, **alert} for alert_id, alert in reader.alerts(after=since, limit=limit)]

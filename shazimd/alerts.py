"""Where a near-duplicate is told: the log, the store, and whoever subscribed.

An alert is in the store exactly once, and in the log at least once: what was stored but perhaps not logged before a
crash is logged at the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from shazimd.store.base import Reader, Store, Writer
from shazimd.text import path_fields
from shazimd.types import Match

log = structlog.get_logger()

_TOLD = "alerts_told"

Record = dict[str, Any]
Tell = Callable[[Record], None]


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


def stored(reader: Reader, since: int, limit: int | None = None) -> list[Record]:
    """Stored alerts with id > ``since``, oldest first, as they are told."""
    return [{"alert_id": alert_id, **alert} for alert_id, alert in reader.alerts(after=since, limit=limit)]


class Alerts:
    """Tells stored alerts in the order of their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._subscribers: list[Tell] = []
        with store.read() as reader:
            self._told: int = reader.get(_TOLD) or 0
            untold = stored(reader, since=self._told)
        for alert in untold:
            self.tell(alert)

    def keep(self, writer: Writer, alert: Record) -> Record:
        """Store an alert, and how far the log is; the alert with its id."""
        writer.set(_TOLD, self._told)
        return {"alert_id": writer.add_alert(alert), **alert}

    def tell(self, alert: Record) -> None:
        """Log a stored alert and hand it to the subscribers. To be called in the order of the ids."""
        log.warning("near_duplicate", **{key: value for key, value in alert.items() if key != "time"})
        with self._lock:
            self._told = alert["alert_id"]
            for subscriber in self._subscribers:
                subscriber(alert)

    @contextmanager
    def subscribe(self, tell: Tell) -> Iterator[None]:
        """While entered, ``tell`` is called with each alert from now on; it must return at once and not raise."""
        with self._lock:
            self._subscribers.append(tell)
        try:
            yield
        finally:
            with self._lock:
                self._subscribers.remove(tell)

    def close(self) -> None:
        """Note how far the log is, so that the next start repeats nothing."""
        self._store.write(lambda writer: writer.set(_TOLD, self._told))

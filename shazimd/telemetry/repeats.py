"""Limit repeated log lines: ten thousand broken files make one line per period, with a count.

Only lines with a ``cause`` are limited. The first line of an event and cause is logged at once. Others within the
period are counted; at its end, the last of them is logged with the count as ``repeated``. Alerts have no cause.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from threading import Timer

import structlog
from structlog.typing import EventDict, WrappedLogger

PERIOD_S = 60.0


class Repeats:
    """A structlog processor. Thread-safe."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], _Held] = {}

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        cause = event.pop("cause", None)
        if cause is None:
            return event
        key = (str(event["event"]), str(cause))
        with self._lock:
            if key in self._held:
                self._held[key] = _Held(self._held[key].count + 1, method, event)
                raise structlog.DropEvent
            self._held[key] = _Held()
        self._after_period(key)
        return event

    def _after_period(self, key: tuple[str, str]) -> None:
        timer = Timer(self._period_s, self._end_period, [key])
        timer.daemon = True
        timer.start()

    def _end_period(self, key: tuple[str, str]) -> None:
        with self._lock:
            held = self._held.pop(key)
            if held.count:
                self._held[key] = _Held()
        if held.count:
            self._after_period(key)
            getattr(structlog.get_logger(), held.method)(**held.last, repeated=held.count)


@dataclass
class _Held:
    """Lines of an event and cause within a period, not logged yet."""

    count: int = 0
    method: str = ""
    last: EventDict = field(default_factory=dict)

"""The daemon's alerts and state, read once and sent to every open tab."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from shazimd.errors import ShazimdError

if TYPE_CHECKING:
    from shazimd.client import Client
    from shazimd.protocol import Alert

STATUS_INTERVAL_S = 2.0
RETRY_S = 2.0
WAITING_MAX = 200
"""Messages that wait for a slow tab; beyond, the tab is disconnected, and connects again."""
RECENT_MAX = 200

LiveEvent: TypeAlias = tuple[str, Any]
"""("alert", Alert), ("status", Status) or ("gone", reason)"""
LiveQueue: TypeAlias = "asyncio.Queue[LiveEvent | None]"


class LiveHub:
    """Reads alerts and the state in threads of its own, while ``start`` was called and ``end`` was not."""

    def __init__(self, client: Client, known: int) -> None:
        """``known``: the id of the last alert that was stored before a tab could be open; later ones are sent."""
        self._client = client
        self._known = known
        self._queues: set[LiveQueue] = set()
        self._ended = threading.Event()
        self._watched = threading.Event()
        self._recent: deque[Alert] = deque(maxlen=RECENT_MAX)
        self._last_id = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        for work in (self._read_alerts, self._read_status):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def end(self) -> None:
        """End all streams. Called in the event loop."""
        self._ended.set()
        self._watched.set()
        for queue in list(self._queues):
            self._close(queue)

    def recent(self) -> list[Alert]:
        """The latest alerts, newest first."""
        return list(reversed(self._recent))

    def since(self, last_id: int) -> list[Alert]:
        """The alerts after one, oldest first, as far as they are among the latest."""
        return [alert for alert in list(self._recent) if alert["id"] > last_id]

    def subscribe(self) -> LiveQueue:
        """A queue of events, None at the end. Called in the event loop."""
        queue: LiveQueue = asyncio.Queue(WAITING_MAX + 1)
        self._queues.add(queue)
        self._watched.set()
        if self._ended.is_set():
            queue.put_nowait(None)
        return queue

    def unsubscribe(self, queue: LiveQueue) -> None:
        self._queues.discard(queue)
        if not self._queues and not self._ended.is_set():
            self._watched.clear()

    def _close(self, queue: LiveQueue) -> None:
        self._queues.discard(queue)
        queue.put_nowait(None)  # the last place; the tab asks for what comes after the last event that it got

    def _send(self, event: LiveEvent) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._send_all, event)

    def _send_all(self, event: LiveEvent) -> None:
        for queue in list(self._queues):
            if queue.qsize() >= WAITING_MAX:
                self._close(queue)
            else:
                queue.put_nowait(event)

    def _read_alerts(self) -> None:
        """Stored alerts first, then new ones; from the last one again after a break."""
        while not self._ended.is_set():
            try:
                for alert in self._client.alerts(since=self._last_id):
                    self._take(alert)
                for alert in self._client.events(since=self._last_id):
                    self._take(alert)
            except ShazimdError:  # told by _read_status
                pass
            self._ended.wait(RETRY_S)

    def _take(self, alert: Alert) -> None:
        self._last_id = alert["id"]
        self._recent.append(alert)
        if alert["id"] > self._known:
            self._send(("alert", alert))

    def _read_status(self) -> None:
        while True:
            self._watched.wait()
            if self._ended.is_set():
                return
            try:
                self._send(("status", self._client.status()))
            except ShazimdError as error:
                self._send(("gone", error.message))
            self._ended.wait(STATUS_INTERVAL_S)

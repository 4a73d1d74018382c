"""Alerts as they come, as server-sent events (WHATWG HTML, section 9.2).

The service gives each subscriber a bounded queue, so a slow reader costs itself, never the one who tells: it is let
go, and catches up from the store when it returns with the last id it has seen.
"""

from __future__ import annotations

import queue
from collections.abc import AsyncGenerator
from typing import Literal, TypeAlias

import anyio
import msgspec

from shazimd.errors import Unavailable
from shazimd.protocol import Alert
from shazimd.server.service import Service

KEEP_ALIVE_S = 15.0
"""A comment is sent this often, for readers and proxies that take a minute's silence for death."""

SUBSCRIBERS_MAX = 32
"""Each one has a thread, asleep in its queue."""

CATCH_UP_AT_ONCE = 1000

Inbox: TypeAlias = "queue.Queue[Alert | None]"


class AlertStreams:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._limiter = anyio.CapacityLimiter(SUBSCRIBERS_MAX)
        self._inboxes: set[Inbox] = set()
        self._ended = False

    def end(self) -> None:
        """End every stream. Called in the event loop."""
        self._ended = True
        for inbox in self._inboxes:
            _wake(inbox)

    def stream(self, since: int | None) -> AsyncGenerator[bytes, None]:
        """The bytes of a stream: alerts with id > ``since`` first, unless None; then each new one, once, in order.

        The first bytes are a comment that says that nothing is missed from here on. Raises Unavailable when there
        are too many subscribers."""
        if len(self._inboxes) >= SUBSCRIBERS_MAX:
            raise Unavailable(f"{SUBSCRIBERS_MAX} subscribers are connected, expected fewer; ask again later")
        return self._stream(since)

    async def _stream(self, since: int | None) -> AsyncGenerator[bytes, None]:
        with self._service.subscribe() as inbox:
            self._inboxes.add(inbox)
            try:
                yield b": subscribed\n\n"
                last = since or 0
                if since is not None:
                    async for alert in self._missed(since):
                        last = alert["id"]
                        yield _event(alert)
                async for chunk in self._live(inbox, last):
                    yield chunk
            finally:
                self._inboxes.discard(inbox)
                _wake(inbox)  # a thread may sleep in it still

    async def _missed(self, since: int) -> AsyncGenerator[Alert, None]:
        while page := await anyio.to_thread.run_sync(self._service.alerts, since, CATCH_UP_AT_ONCE):
            for alert in page:
                yield alert
            since = page[-1]["id"]

    async def _live(self, inbox: Inbox, last: int) -> AsyncGenerator[bytes, None]:
        while not self._ended:
            alert = await anyio.to_thread.run_sync(_next, inbox, abandon_on_cancel=True, limiter=self._limiter)
            if alert is None:
                return
            if alert == "silence":
                yield b": keep-alive\n\n"
            elif alert["id"] > last:  # it may have been among the missed ones
                yield _event(alert)


def _next(inbox: Inbox) -> Alert | Literal["silence"] | None:
    try:
        return inbox.get(timeout=KEEP_ALIVE_S)
    except queue.Empty:
        return "silence"


def _wake(inbox: Inbox) -> None:
    try:
        inbox.put_nowait(None)
    except queue.Full:
        return  # then nobody sleeps in it


def _event(alert: Alert) -> bytes:
    return b"id: %d\nevent: alert\ndata: %s\n\n" % (alert["id"], msgspec.json.encode(alert))

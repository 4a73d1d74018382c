"""New alerts as server-sent events (WHATWG HTML, section 9.2).

The service gives each subscriber a bounded queue, and never waits for a slow client: its stream ends, and the client
reads the missed alerts from the store when reconnecting with the last id received.
"""

from __future__ import annotations

import queue
from collections.abc import AsyncGenerator
from typing import Literal, TypeAlias

import anyio
import msgspec

from shazimd.errors import Unavailable
from shazimd.protocol import Alert
from shazimd.server.bodies import KEEP_ALIVE_S
from shazimd.server.service import Service

SUBSCRIBERS_MAX = 32
"""Each subscriber takes a thread, which waits for its queue."""

SUBSCRIBERS_OF_A_USER_MAX = 16
"""The process of the hooks is one user, and holds a stream for each of ``config.HOOKS_MAX``."""

CATCH_UP_AT_ONCE = 1000

Inbox: TypeAlias = "queue.Queue[Alert | None]"


class AlertStreams:
    """The streams of alerts to all subscribers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limiter = anyio.CapacityLimiter(SUBSCRIBERS_MAX)
        self._inboxes: dict[Inbox, int] = {}
        """users by subscription"""
        self._ended = False

    def end(self) -> None:
        """End every stream. Called in the event loop."""
        self._ended = True
        for inbox in self._inboxes:
            _wake(inbox)

    def stream(self, since: int | None, uid: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a stream: stored alerts with id > ``since``, unless None; then each new alert, once, in order.

        The first bytes are a comment: later alerts are not missed. Raises Unavailable for too many subscribers, of the
        user or in all."""
        if list(self._inboxes.values()).count(uid) >= SUBSCRIBERS_OF_A_USER_MAX:
            raise Unavailable(f"{SUBSCRIBERS_OF_A_USER_MAX} subscribers of this user are connected, expected fewer")
        if len(self._inboxes) >= SUBSCRIBERS_MAX:
            raise Unavailable(f"{SUBSCRIBERS_MAX} subscribers are connected, expected fewer; ask again later")
        return self._stream(since, uid)

    async def _stream(self, since: int | None, uid: int) -> AsyncGenerator[bytes, None]:
        with self._service.subscribe() as inbox:
            self._inboxes[inbox] = uid
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
                del self._inboxes[inbox]
                _wake(inbox)  # a thread may wait for the queue

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
            elif alert["id"] > last:  # otherwise already sent from the store
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
        return  # no thread waits for a full queue


def _event(alert: Alert) -> bytes:
    return b"id: %d\nevent: alert\ndata: %s\n\n" % (alert["id"], msgspec.json.encode(alert))

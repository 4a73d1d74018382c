"""uvicorn's HTTP protocol with additional limits.

uvicorn limits neither size nor time of the headers, nor the time of an unread response, and does not refuse in JSON.
``bodies`` has the limits of bodies. The overridden methods are not documented: see pyproject.toml.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES_MAX = 65536
HEAD_S = 10.0
"""from the connection, or the first byte of a later request, to the end of the headers"""
UNREAD_S = 30.0
"""from a full write buffer, since the client does not read, to the end of the connection"""
CONNECTIONS_MAX = 256
"""Below the usual limit of 1024 open files."""


class GuardedProtocol(HttpToolsProtocol):
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_body = False
    _waiting_since = 0.0
    """when the client's turn began; the event loop's own clock has milliseconds only"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._waiting_since = time.monotonic()
        if len(self.connections) > CONNECTIONS_MAX and not self._make_room():
            self._refuse(503, "unavailable", f"{CONNECTIONS_MAX} connections are open; ask again later")
        else:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._unread_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_too_slow)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(431, "bad_request", f"the headers have more than {HEAD_BYTES_MAX} bytes")

    def on_headers_complete(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = None
        self._in_head, self._in_body = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._in_body = True, False
        self._head_bytes = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._waiting_since = time.monotonic()
        # uvicorn would read the rest of a refused body to its end, without a time limit.
        if self._in_body and not self.pipeline:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._unread_timer)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", msg)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client; False if the daemon is working for all others.

        A client that holds all connections, idle or with bodies that trickle, loses its own."""
        others = (each for each in self.connections if isinstance(each, GuardedProtocol) and each is not self)
        waiting = [each for each in others if each._waits_for_client()]
        if not waiting:
            return False
        longest = min(waiting, key=lambda each: each._waiting_since)
        longest._refuse(503, "unavailable", f"{CONNECTIONS_MAX} connections are open, and this one was the idlest")
        return True

    def _waits_for_client(self) -> bool:
        if self.transport.is_closing():
            return False
        return self._in_body or self.cycle is None or self.cycle.response_complete

    def _head_too_slow(self) -> None:
        self._refuse(408, "timeout", f"the headers took more than {HEAD_S:g} s")

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = msgspec.json.encode({"error": {"code": code, "message": message}})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

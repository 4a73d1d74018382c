"""uvicorn's HTTP protocol with additional limits.

uvicorn limits neither size nor time of the headers, nor the time of an unread response, nor the connections of a user,
and does not refuse in JSON.
``bodies`` has the limits of bodies. The overridden methods are not documented: see pyproject.toml.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shazimd.server.users import Peer, peer_of

HEAD_BYTES_MAX = 65536
HEAD_S = 10.0
"""from the connection, or the first byte of a later request, to the end of the headers"""
UNREAD_S = 30.0
"""from a full write buffer, since the client does not read, to the end of the connection"""
STREAM_UNREAD_S = 600.0
"""the same amid a stream, which a person may read page by page; after UNREAD_S it gives way to another connection"""
CONNECTIONS_MAX = 256
"""Below the usual limit of 1024 open files."""
CONNECTIONS_OF_A_USER_MAX = 128
"""One user leaves half of them to the others. A connection has one body at a time."""


PIPELINED_MAX = 16
"""Requests of a connection that wait for the answer before: a kilobyte of them takes a hundred of memory."""


class Pipelined(Exception):
    """A connection sent too many requests ahead."""


class GuardedProtocol(HttpToolsProtocol):
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_body = False
    _lingers = False
    """the answer was the last; what still comes of a refused body is thrown away"""
    _stalls = False
    """the client has not read its stream for UNREAD_S"""
    _waiting_since = 0.0
    """when the client's turn began; the event loop's own clock has milliseconds only"""
    peer: Peer
    _at_work: RequestResponseCycle | None = None
    """the request whose answer is made; ``cycle`` is the last one that was sent, perhaps ahead"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._waiting_since = time.monotonic()
        self.peer = peer_of(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "peer": self.peer}  # the handlers' request.state
        if self._fits() or self._make_room():
            self._head_timer = self.loop.call_later(HEAD_S, self._head_too_slow)
        else:
            self._refuse(503, "unavailable", "too many connections are open; ask again later")

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._unread_timer)
        if (at_work := self._abandoned()) is not None:
            at_work.message_event.set()
        self.pipeline.clear()  # the request at work keeps this object for a while
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingers or self.transport.is_closing():
            return
        if self._in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_too_slow)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(431, "bad_request", f"the headers have more than {HEAD_BYTES_MAX} bytes")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED_MAX:
            raise Pipelined  # the parser stops, and uvicorn calls send_400_response
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = None
        self._in_head, self._in_body = False, True
        super().on_headers_complete()
        if not self.pipeline:
            self._at_work = self.cycle

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._in_body = True, False
        self._head_bytes = 0

    def on_response_complete(self) -> None:
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._at_work = following
        self._waiting_since = time.monotonic()
        # uvicorn would read the rest of a refused body to its end, without a time limit. A close with bytes unread
        # would take the answer from the client (RFC 9112, 9.6): what comes until the keep-alive limit is thrown away.
        if self._in_body and not self.pipeline:
            self._lingers = True
            self.transport.write_eof()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waiting_since = time.monotonic()
        self._unread_timer = self.loop.call_later(UNREAD_S, self._unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._unread_timer)
        self._stalls = False

    def send_400_response(self, msg: str) -> None:
        too_many = f"more than {PIPELINED_MAX} requests were sent ahead"
        self._refuse(400, "bad_request", too_many if len(self.pipeline) >= PIPELINED_MAX else msg)

    def _fits(self) -> bool:
        own = len(self._connections_of(self.peer.uid))
        return own <= CONNECTIONS_OF_A_USER_MAX and len(self.connections) <= CONNECTIONS_MAX

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client, of those of the user with the most; False if the
        daemon is working for all of these.

        A user who holds connections, idle or with bodies that trickle, loses their own."""
        own = self._connections_of(self.peer.uid)
        if len(own) <= CONNECTIONS_OF_A_USER_MAX:
            counts = Counter(each.peer.uid for each in self.connections if isinstance(each, GuardedProtocol))
            own = self._connections_of(counts.most_common(1)[0][0])
        waiting = [each for each in own if each is not self and each._waits_for_client()]
        if not waiting:
            return False
        longest = min(waiting, key=lambda each: each._waiting_since)
        longest._refuse(503, "unavailable", "too many connections are open, and this one was the idlest")
        return True

    def _connections_of(self, uid: int) -> list[GuardedProtocol]:
        return [each for each in self.connections if isinstance(each, GuardedProtocol) and each.peer.uid == uid]

    def _waits_for_client(self) -> bool:
        if self.transport.is_closing():
            return self._stalls
        return self._stalls or self._in_body or self.cycle is None or self.cycle.response_complete

    def _head_too_slow(self) -> None:
        self._refuse(408, "timeout", f"the headers took more than {HEAD_S:g} s")

    def _unread(self) -> None:
        answer = self._at_work or self.cycle
        if answer is not None and answer.chunked_encoding:
            self._stalls = True
            self._unread_timer = self.loop.call_later(STREAM_UNREAD_S - UNREAD_S, self.transport.abort)
        else:
            self.transport.abort()

    def _abandoned(self) -> RequestResponseCycle | None:
        """The request at work, whose answer goes nowhere from now on: to write it to a closed transport is an error
        with a traceback in the log. uvicorn ends the last request alone, also where that waits for others."""
        if self._at_work is not None:
            self._at_work.disconnected = True
        return self._at_work

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self._stalls:  # the refusal would be amid the stream, and wait as that does
            self._stalls = False
            self.transport.abort()
            return
        body = msgspec.json.encode({"error": {"code": code, "message": message}})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        if not self._lingers:
            self.transport.write(STATUS_LINE[status] + head + body)
        self._abandoned()
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

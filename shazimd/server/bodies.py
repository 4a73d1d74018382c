"""The bodies of requests and of responses.

A request's body is read within limits of size, time and memory. It is in memory until its response is sent: a picture
once, in memory of its own that a worker gets. The bodies of all requests together have a limit, too, and half of that
is the limit of a user: beyond, requests are refused before the daemon runs out of memory.

A response is JSON, an error with its status, or a stream of lines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from shazimd import errors
from shazimd.errors import TooLarge, Unavailable, UsageError
from shazimd.posix import memory
from shazimd.posix.sealed import GrowingBytes, SealedBytes
from shazimd.protocol import ErrorReply
from shazimd.server.forms import FormFiles
from shazimd.server.users import Shares
from shazimd.server.verbs import JSON, JSON_LINES
from shazimd.text import printable

T = TypeVar("T")

IDLE_S = 30.0
"""The longest silence within a body: a phone's upload over a tunnel stalls for seconds, not for half a minute."""
TOTAL_S = 120.0
"""The longest time of a body: the largest of 512 MiB at 4 MiB/s. A body that trickles holds memory no longer."""
MEMORY_SHARE = 8
"""The bodies together take at most an eighth of the memory, at least HELD_BYTES_MIN."""
HELD_BYTES_MIN = 64 << 20

FORM_OVERHEAD_BYTES = 65536
"""Boundaries and headers around the parts of a form."""

KEEP_ALIVE_S = 15.0
"""Interval of empty lines, or comments, in a stream without results: nginx closes a response after 60 s of silence."""

_STATUS: dict[type[errors.ShazimdError], int] = {
    errors.UsageError: 400,
    errors.ConfigError: 400,
    errors.BadInput: 400,
    errors.Forbidden: 403,
    errors.NotAnImage: 415,
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.Unreadable: 422,
    errors.Unavailable: 503,
    errors.StoreFull: 507,
}
"""Status of each error class and its subclasses; 500 for all others."""

_HTTP_CODES = {404: "no_such_endpoint", 405: "method_not_allowed"}


class BodyTimeout(Exception):
    """The client stopped sending in the middle of a body."""


def memory_budget(max_bytes: int) -> int:
    """Memory for all bodies together on this machine, for bodies of at most ``max_bytes``."""
    return max(HELD_BYTES_MIN, min(4 * max_bytes, memory.usable_bytes() // MEMORY_SHARE))


class Bodies:
    """Reads bodies of at most ``max_bytes`` each and ``held_max_bytes`` together, half of them by one user."""

    def __init__(self, max_bytes: int, held_max_bytes: int) -> None:
        self._user_max_bytes = held_max_bytes // 2
        self._max_bytes = min(max_bytes, self._user_max_bytes)
        self._held = Shares("bytes of pictures in memory", self._user_max_bytes, held_max_bytes)

    @asynccontextmanager
    async def any(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which may be empty, counted as in memory until the block ends.

        Raises TooLarge, Unavailable (memory limit), BodyTimeout, ClientDisconnect."""
        async with self._pieces(request, self._max_bytes) as pieces:
            yield b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def picture(self, request: Request) -> AsyncIterator[SealedBytes]:
        """As ``any``, in memory for a worker; raises UsageError for an empty body."""
        async with self._pieces(request, self._max_bytes) as pieces:
            with _unavailable_without_memory():
                growing = GrowingBytes()
                async for piece in pieces:
                    growing.write(piece)
                body = SealedBytes(growing)
            if not len(body):
                raise UsageError("the body is empty, expected the bytes of an image")
            yield body

    @asynccontextmanager
    async def pictures(self, request: Request, *names: str) -> AsyncIterator[list[SealedBytes]]:
        """The files of a form (multipart/form-data) under these names, in their order; errors as for ``picture``."""
        max_bytes = min(len(names) * self._max_bytes + FORM_OVERHEAD_BYTES, self._user_max_bytes)
        async with self._pieces(request, max_bytes) as pieces:
            with _unavailable_without_memory():
                form = FormFiles(request.headers.get("content-type", ""), names, self._max_bytes)
                async for piece in pieces:
                    form.write(piece)
            yield form.files()

    @asynccontextmanager
    async def _pieces(self, request: Request, max_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a body, as they come, of ``max_bytes`` together."""
        announced = request.headers.get("content-length", "0")
        _check_size(int(announced) if announced.isdigit() else 0, max_bytes)
        uid = request.state.peer.uid
        held = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal held
            async for piece in self._timed(request.stream()):
                _check_size(held + len(piece), max_bytes)
                self._held.take(uid, len(piece))
                held += len(piece)
                yield piece

        try:
            yield counted()
        finally:
            self._held.give(uid, held)

    async def _timed(self, stream: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        end = time.monotonic() + TOTAL_S
        while True:
            left_s = end - time.monotonic()
            try:
                async with asyncio.timeout(min(IDLE_S, left_s)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if left_s < IDLE_S:
                    raise BodyTimeout(f"the body took more than {TOTAL_S:g} s") from error
                raise BodyTimeout(f"nothing of the body came for {IDLE_S:g} s") from error
            yield chunk


@contextmanager
def _unavailable_without_memory() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"there is no memory for the picture: {error.strerror}; ask again later") from error


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(f"the body has {size} bytes or more, expected at most {max_bytes}")


class JsonResponse(Response):
    media_type = JSON

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def error_reply(code: str, message: str) -> ErrorReply:
    """An error's JSON, which takes no names that are not UTF-8: see ``printable``."""
    return {"error": {"code": code, "message": printable(message)}}


async def on_shazimd_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ShazimdError)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JsonResponse(error_reply(error.code, error.message), status, headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    message = f"{request.method} {request.url.path}: {error.detail}; GET /openapi.json says what there is"
    return JsonResponse(error_reply(code, message), error.status_code, error.headers)


async def on_body_timeout(_request: Request, error: Exception) -> Response:
    return JsonResponse(error_reply("timeout", str(error)), 408)


async def on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # the client has disconnected


async def on_bug(_request: Request, _error: Exception) -> Response:
    # The server logs the exception with its traceback; the client gets no internals.
    return JsonResponse(error_reply("internal", "the daemon failed to answer; its log says why"), 500)


ERROR_HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    errors.ShazimdError: on_shazimd_error,
    HTTPException: on_http_error,
    BodyTimeout: on_body_timeout,
    ClientDisconnect: on_disconnect,
    Exception: on_bug,
}


def lines(
    items: Iterator[Any], limit: int | None, limiter: anyio.CapacityLimiter, share: AbstractContextManager[None]
) -> StreamingResponse:
    """At most ``limit`` JSON objects, each on a line, computed in a thread as they are read, within a share.

    For an item None, an empty line is sent. An error is sent as the last line. ``items`` is closed when the client
    disconnects."""
    return StreamingResponse(_lines(items, limit, limiter, share), media_type=JSON_LINES)


async def _lines(
    items: Iterator[Any], limit: int | None, limiter: anyio.CapacityLimiter, share: AbstractContextManager[None]
) -> AsyncGenerator[bytes, None]:
    limited, end = _limited(items, limit), object()
    step: asyncio.Future[Any] | None = None
    try:
        with share:
            while True:
                step = step or asyncio.ensure_future(_in_thread(partial(next, limited, end), limiter))
                if not (await asyncio.wait({step}, timeout=KEEP_ALIVE_S))[0]:
                    yield b"\n"
                    continue
                item, step = step.result(), None
                if item is end:
                    return
                yield b"\n" if item is None else msgspec.json.encode(item) + b"\n"
    except errors.ShazimdError as error:
        yield msgspec.json.encode(error_reply(error.code, error.message)) + b"\n"
    finally:
        with anyio.CancelScope(shield=True):
            if step is not None:
                await asyncio.wait({step})  # it can't be closed while a thread is in it
            await _in_thread(getattr(items, "close", lambda: None), limiter)


def _limited(items: Iterator[Any], limit: int | None) -> Iterator[Any]:
    """The items up to ``limit`` of them; None, a sign of life, does not count."""
    given = 0
    for item in items:
        yield item
        given += item is not None
        if given == limit:
            return


async def _in_thread(work: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
    return await anyio.to_thread.run_sync(work, limiter=limiter)

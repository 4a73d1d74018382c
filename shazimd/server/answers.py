"""Responses: JSON, errors with their status, streams of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from shazimd import errors
from shazimd.protocol import ErrorReply
from shazimd.server.bodies import BodyTimeout
from shazimd.server.verbs import JSON, JSON_LINES

T = TypeVar("T")

KEEP_ALIVE_S = 15.0
"""Interval of empty lines in a stream without results: nginx closes a response after 60 s of silence."""

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


class JsonResponse(Response):
    media_type = JSON

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def error_reply(code: str, message: str) -> ErrorReply:
    return {"error": {"code": code, "message": message}}


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


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
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

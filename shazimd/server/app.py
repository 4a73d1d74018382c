"""The handlers of the verbs: from a request to a call of the service, and to a response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import cache, partial
from typing import Any, TypeVar

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from shazimd.errors import Forbidden, UsageError
from shazimd.protocol.cluster import MissingReply
from shazimd.server import openapi, parameters
from shazimd.server.bodies import ERROR_HANDLERS, Bodies, JsonResponse, lines, memory_budget
from shazimd.server.cluster_verbs import CLUSTER_VERBS, PACKED
from shazimd.server.events import AlertStreams
from shazimd.server.parameters import MISSED
from shazimd.server.service import Service
from shazimd.server.users import Admins, Pace, Shares, Turns
from shazimd.server.verbs import EVENTS, JSON, JSON_LINES, VERBS, Verb
from shazimd.types import Verdict

T = TypeVar("T")
Handler = Callable[[Request, dict[str, Any]], Awaitable[Response]]

QUERIES_AT_ONCE = 4
"""Concurrent queries with pictures; others wait. Decoding runs in the worker processes."""

VERBS_AT_ONCE = 8
"""Threads of the other verbs: ``status`` must answer while queries wait."""

STREAMS_OF_A_USER_MAX, STREAMS_MAX = 8, 32
"""Streams of groups, pairs or steps that are read at once."""

REQUESTS_PER_S = 500.0
"""Pace of a user's requests without pictures: about a fifth of the event loop's time."""
REQUESTS_BURST_S = 0.5
REQUESTS_WAIT_S_MAX = 2.0

ALL_VERBS = (*VERBS, *CLUSTER_VERBS)
WAITS_AT_ONCE = 32
"""Threads of requests that wait for a change."""


def create_app(
    service: Service, *, max_body_bytes: int, held_max_bytes: int | None = None, admins: Admins | None = None
) -> Starlette:
    """The application, with limits on the bytes of a picture and of all pictures in memory, for ``GuardedProtocol``.

    ``app.state.end_streams()``, called in its event loop, ends the streams of events, for a quick stop."""
    api = _Api(service, Bodies(max_body_bytes, held_max_bytes or memory_budget(max_body_bytes)))
    admins = admins or Admins()
    routes = [_route(verb, api.handler(verb), admins, api.pace) for verb in ALL_VERBS]
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
    app.state.end_streams = api.end_streams
    return app


def _route(verb: Verb, handler: Handler, admins: Admins, pace: Pace) -> Route:
    async def answer(request: Request) -> Response:
        if verb.admin and not admins.include(request.state.peer):
            raise Forbidden(_refusal(verb, request.state.peer.uid))
        if verb.body is None:
            await pace.turn(request.state.peer.uid)
        return await handler(request, parameters.parse(request.scope["query_string"], verb.parameters))

    return Route(verb.path, answer, methods=[verb.method])


def _refusal(verb: Verb, uid: int) -> str:
    allowed = "root, the daemon's own user and the [server] admins of its configuration"
    return f"{verb.method} {verb.path}: user {uid} may only ask; this is for {allowed}"


@cache
def _description() -> bytes:
    # built once: the schemas of all messages take milliseconds of the event loop
    return msgspec.json.encode(openapi.document(ALL_VERBS))


class _Api:
    """Handlers by the names of verbs; a verb without one is answered by the service's method of its name."""

    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._service = service
        self._bodies = bodies
        self._queries = Turns(QUERIES_AT_ONCE)
        self._verbs = anyio.CapacityLimiter(VERBS_AT_ONCE)
        self._steps = anyio.CapacityLimiter(VERBS_AT_ONCE)
        self._streams = Shares("streams", STREAMS_OF_A_USER_MAX, STREAMS_MAX)
        self._waits = anyio.CapacityLimiter(WAITS_AT_ONCE)
        self.pace = Pace(REQUESTS_PER_S, REQUESTS_BURST_S, REQUESTS_WAIT_S_MAX)
        self.alerts_live = AlertStreams(service)

    def handler(self, verb: Verb) -> Handler:
        """The verb's own handler; else one that calls the service with the parameters by their names."""
        own: Handler | None = getattr(self, verb.name, None)

        async def answer(request: Request, given: dict[str, Any]) -> Response:
            found = await self._verb(partial(getattr(self._service, verb.name), **given))
            if verb.reply.media_type == JSON_LINES:
                return self._lines(request, found)
            return JsonResponse({verb.reply.key: found} if verb.reply.key else found, verb.reply.status)

        return own or answer

    def end_streams(self) -> None:
        """End the streams of alerts, and the waits for changes. Called in the event loop."""
        self.alerts_live.end()
        self._service.end_waits()

    async def find(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.picture(request) as data:
            return JsonResponse(await self._query(request, partial(self._service.find, data, **given)))

    async def compare(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.pictures(request, "a", "b") as (a, b):
            return JsonResponse(await self._query(request, partial(self._service.compare, a, b, **given)))

    async def events(self, request: Request, given: dict[str, Any]) -> Response:
        since = given["since"]
        if since is None and "last-event-id" in request.headers:
            last = request.headers["last-event-id"].encode("latin-1")
            since = parameters.parse(b"since=" + last, (MISSED,))["since"]
        return StreamingResponse(
            self.alerts_live.stream(since, request.state.peer.uid),
            headers={"Cache-Control": "no-store"},
            media_type=EVENTS,
        )

    async def forget(self, _request: Request, given: dict[str, Any]) -> Response:
        path, deleted, content, ignore = (given[name] for name in ("path", "deleted", "content", "ignore"))
        if (path is not None, deleted, content is not None).count(True) != 1 or (ignore and path is None):
            raise UsageError("expected one parameter: path (also with ignore=true), deleted=true or content")
        return JsonResponse(await self._verb(partial(self._service.forget, **given)))

    async def duplicates(self, request: Request, given: dict[str, Any]) -> Response:
        groups = await self._verb(self._service.duplicates, given["threshold"], given["weights"])
        return self._lines(request, groups, given["limit"])

    async def groups(self, _request: Request, given: dict[str, Any]) -> Response:
        if given["id"] is not None:
            return JsonResponse(await self._verb(self._service.group, given["id"]))
        verdict = Verdict(given["verdict"]) if given["verdict"] else None
        ask = partial(
            self._service.group_page,
            *(given["under"], verdict, given["after"], given["limit"]),
            decided=given["decided"],
            modified=(given["modified_since"], given["modified_until"]),
        )
        return JsonResponse(await self._verb(ask))

    async def decide(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.any(request) as body:
            uid = request.state.peer.uid
            decide = partial(self._service.decide, body, uid, accept_unknown=given["unknown"] is not None)
            return JsonResponse({"ids": await self._verb(decide)})

    async def undo(self, _request: Request, given: dict[str, Any]) -> Response:
        return JsonResponse(await self._verb(self._service.undo, given["id"]))

    async def install_model(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.any(request) as data:
            steps = await self._verb(self._service.install_model, given["handle"], data or None)
        return self._lines(request, steps)

    async def changes(self, _request: Request, given: dict[str, Any]) -> Response:
        ask = partial(self._service.changes, given["after"], given["limit"])
        end = anyio.current_time() + given["wait"]
        before = self._service.file_changes()
        page = await self._verb(ask)
        while page["complete"] and not page["changes"] and (left_s := end - anyio.current_time()) > 0:
            await anyio.to_thread.run_sync(
                self._service.wait_for_file_change, before, left_s, abandon_on_cancel=True, limiter=self._waits
            )
            if self._service.file_changes() == before:
                break
            before = self._service.file_changes()
            page = await self._verb(ask)
        return JsonResponse(page)

    async def missing_contents(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.any(request) as body:
            ask = partial(self._service.missing_contents, body=body, packed=_is_packed(request), **given)
            reply: MissingReply = {"missing": await self._verb(ask)}
            return JsonResponse(reply)

    async def put_foreign(self, request: Request, given: dict[str, Any]) -> Response:
        async with self._bodies.any(request) as body:
            put = partial(self._service.put_foreign, body=body, packed=_is_packed(request), **given)
            return JsonResponse(await self._verb(put))

    async def decide_foreign(self, _request: Request, given: dict[str, Any]) -> Response:
        await self._verb(self._service.decide_foreign, given["id"], given["order"], given["content"])
        return JsonResponse({"decided": given["id"]})

    async def wanted_features(self, _request: Request, given: dict[str, Any]) -> Response:
        wanted = await anyio.to_thread.run_sync(
            self._service.wanted_features, given["wait"], abandon_on_cancel=True, limiter=self._waits
        )
        return JsonResponse({"wanted": wanted})

    async def put_features(self, request: Request, _given: dict[str, Any]) -> Response:
        async with self._bodies.any(request) as body:
            await self._verb(self._service.put_features, body)
            return JsonResponse({"wanted": self._service.wanted_features(0)})

    async def metrics(self, _request: Request, _given: dict[str, Any]) -> Response:
        text = await self._verb(self._service.metrics)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self, _request: Request, _given: dict[str, Any]) -> Response:
        state = (await self._verb(self._service.status))["state"]
        return JsonResponse({"state": state}, 200 if state in ("baseline", "ready") else 503)

    async def openapi(self, _request: Request, _given: dict[str, Any]) -> Response:
        return Response(_description(), media_type=JSON)

    def _lines(self, request: Request, items: Iterator[Any], limit: int | None = None) -> Response:
        return lines(items, limit, self._steps, self._streams.taken(request.state.peer.uid))

    async def _verb(self, verb: Callable[..., T], *args: Any) -> T:
        return await anyio.to_thread.run_sync(verb, *args, limiter=self._verbs)

    async def _query(self, request: Request, ask: Callable[[], T]) -> T:
        async with self._queries.turn(request.state.peer.uid):
            await asyncio.sleep(0)  # for the event loop to see the end of a connection that was closed behind the body
            if await request.is_disconnected():  # while waiting
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(ask)


def _is_packed(request: Request) -> bool:
    return request.headers.get("content-type") == PACKED

"""The endpoints: a request in, a verb of the service, an answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from shazimd import protocol
from shazimd.errors import UsageError
from shazimd.server import answers, parameters
from shazimd.server.answers import JsonResponse
from shazimd.server.bodies import Bodies
from shazimd.server.endpoints import Endpoint, openapi
from shazimd.server.events import AlertStreams
from shazimd.server.service import Service
from shazimd.text import path_fields

T = TypeVar("T")

QUERIES_AT_ONCE = 4
"""Questions about pictures that are worked on at once; the others wait. Decoding has its own processes."""

VERBS_AT_ONCE = 8
"""Threads for everything else, so that ``status`` answers while pictures are being looked at."""

ALERTS_PER_ANSWER = 1000


def create_app(service: Service, *, max_body_bytes: int, held_max_bytes: int | None = None) -> Starlette:
    """The application. One picture has at most ``max_body_bytes``; all that are held at once, ``held_max_bytes``.

    ``app.state.end_streams()``, called in its event loop, ends the streams of events, for a quick stop."""
    api = _Api(service, Bodies(max_body_bytes, held_max_bytes or 4 * max_body_bytes))
    app = Starlette(routes=[_route(endpoint) for endpoint in api.endpoints], exception_handlers=answers.HANDLERS)
    app.state.end_streams = api.alerts_live.end
    return app


def _route(endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        given = parameters.parse(request.scope["query_string"], endpoint.parameters)
        for name in sorted(endpoint.required):
            if given[name] is None:
                raise UsageError(f"{name} is not given, expected it in the query string")
        return await endpoint.handler(request, given)

    return Route(endpoint.path, answer, methods=[endpoint.method])


class _Api:
    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._service = service
        self._bodies = bodies
        self._queries = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._verbs = anyio.CapacityLimiter(VERBS_AT_ONCE)
        self._streams = anyio.CapacityLimiter(VERBS_AT_ONCE)
        self.alerts_live = AlertStreams(service)
        self.endpoints = self._endpoints()

    def _endpoints(self) -> list[Endpoint]:
        weights = {"weights": parameters.weights}
        scoring = {"threshold": parameters.threshold, **weights, "limit": parameters.whole(1)}
        joining = {"threshold": parameters.threshold, **weights, "after": parameters.whole(0)}
        since = {"since": parameters.whole(0)}
        since_limit = {**since, "limit": parameters.whole(1)}
        path = {"path": parameters.path}
        forgetting = {**path, "deleted": parameters.true, "content": parameters.digest}
        handle, needs_handle = {"handle": parameters.handle}, frozenset({"handle"})
        lines, events = "application/x-ndjson", "text/event-stream"
        return [
            Endpoint("POST", "/v1/find", self.find, protocol.FindReply, parameters=scoring, body="picture"),
            Endpoint("POST", "/v1/compare", self.compare, protocol.CompareReply, parameters=weights, body="pictures"),
            Endpoint("GET", "/v1/status", self.status, protocol.Status),
            Endpoint("GET", "/v1/alerts", self.alerts, protocol.AlertsReply, parameters=since_limit),
            Endpoint("GET", "/v1/events", self.events, protocol.Alert, events, since),
            Endpoint("POST", "/v1/rescan", self.rescan, protocol.RescanReply, parameters=path, status=202),
            Endpoint("POST", "/v1/forget", self.forget, protocol.ForgetReply, parameters=forgetting),
            Endpoint("GET", "/v1/duplicates", self.duplicates, protocol.DuplicateGroup, lines, scoring),
            Endpoint("GET", "/v1/pairs", self.pairs, protocol.PairLine, lines, joining),
            Endpoint("GET", "/v1/models", self.models, protocol.ModelsReply),
            Endpoint("POST", "/v1/models", self.install_model, protocol.InstallProgress, lines, handle, needs_handle),
            Endpoint("POST", "/v1/reload", self.reload, protocol.ReloadReply),
            Endpoint("POST", "/v1/compact", self.compact, protocol.CompactReply),
            Endpoint("GET", "/metrics", self.metrics, None, "text/plain"),
            Endpoint("GET", "/healthz", self.healthz, protocol.Health),
            Endpoint("GET", "/openapi.json", self.openapi, dict[str, Any]),
        ]

    async def find(self, request: Request, given: dict[str, Any]) -> Response:
        """Find known images like the one in the body."""
        async with self._bodies.picture(request) as data:
            ask = partial(self._service.find, data, given["threshold"], given["weights"], given["limit"])
            return JsonResponse(await self._query(request, ask))

    async def compare(self, request: Request, given: dict[str, Any]) -> Response:
        """Compare two images: the files "a" and "b" of a form."""
        async with self._bodies.pictures(request, "a", "b") as (a, b):
            return JsonResponse(await self._query(request, partial(self._service.compare, a, b, given["weights"])))

    async def status(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Say how the daemon is."""
        return JsonResponse(await self._verb(self._service.status))

    async def alerts(self, _request: Request, given: dict[str, Any]) -> Response:
        """List alerts, oldest first."""
        limit = min(given["limit"] or ALERTS_PER_ANSWER, ALERTS_PER_ANSWER)
        reply: protocol.AlertsReply = {"alerts": await self._verb(self._service.alerts, given["since"] or 0, limit)}
        return JsonResponse(reply)

    async def events(self, request: Request, given: dict[str, Any]) -> Response:
        """Stream alerts as they come; with "since" or Last-Event-ID, those that were missed come first."""
        since = given["since"]
        if since is None and "last-event-id" in request.headers:
            last = request.headers["last-event-id"].encode("latin-1")
            since = parameters.parse(b"since=" + last, {"since": parameters.whole(0)})["since"]
        return StreamingResponse(
            self.alerts_live.stream(since), headers={"Cache-Control": "no-store"}, media_type="text/event-stream"
        )

    async def rescan(self, _request: Request, given: dict[str, Any]) -> Response:
        """Compare a path, or every root, with the disk."""
        await self._verb(self._service.rescan, given["path"])
        return JsonResponse({"path": None} if given["path"] is None else path_fields(given["path"]), 202)

    async def forget(self, _request: Request, given: dict[str, Any]) -> Response:
        """Forget a path with its subtree, or all deleted images, or the image with a digest."""
        if sum(value is not None for value in given.values()) != 1:
            raise UsageError("expected one parameter: path, deleted=true or content")
        forget = partial(self._service.forget, given["path"], deleted=bool(given["deleted"]), content=given["content"])
        reply: protocol.ForgetReply = {"forgotten": await self._verb(forget)}
        return JsonResponse(reply)

    async def duplicates(self, _request: Request, given: dict[str, Any]) -> Response:
        """Stream the groups of duplicates, one a line."""
        groups = await self._verb(self._service.duplicates, given["threshold"], given["weights"])
        return answers.lines(groups, given["limit"], self._streams)

    async def pairs(self, _request: Request, given: dict[str, Any]) -> Response:
        """Stream every pair of images at or over the threshold, one a line, and how far it has come."""
        pairs = await self._verb(self._service.pairs, given["threshold"], given["weights"], given["after"] or 0)
        return answers.lines(pairs, None, self._streams)

    async def models(self, _request: Request, _given: dict[str, Any]) -> Response:
        """List the installed models."""
        reply: protocol.ModelsReply = {"models": await self._verb(self._service.models)}
        return JsonResponse(reply)

    async def install_model(self, _request: Request, given: dict[str, Any]) -> Response:
        """Install a model, and tell each step in a line; hanging up gives up."""
        return answers.lines(await self._verb(self._service.install_model, given["handle"]), None, self._streams)

    async def reload(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Read the config again; a broken one changes nothing."""
        return JsonResponse(await self._verb(self._service.reload))

    async def compact(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Give the disk back what removed rows of the store took."""
        return JsonResponse(await self._verb(self._service.compact))

    async def metrics(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Give the metrics in the Prometheus text format."""
        text = await self._verb(self._service.metrics)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Say whether questions are answered: 200 when they are, 503 while starting or draining."""
        state = (await self._verb(self._service.status))["state"]
        return JsonResponse({"state": state}, 200 if state in ("baseline", "ready") else 503)

    async def openapi(self, _request: Request, _given: dict[str, Any]) -> Response:
        """Give this description."""
        return JsonResponse(openapi(self.endpoints))

    async def _verb(self, verb: Callable[..., T], *args: Any) -> T:
        return await anyio.to_thread.run_sync(verb, *args, limiter=self._verbs)

    async def _query(self, request: Request, ask: Callable[[], T]) -> T:
        async with self._queries:
            if await request.is_disconnected():  # hung up while waiting: nobody wants the answer
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(ask)

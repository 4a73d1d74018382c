"""Routes of what comes in: new alerts, live events, a picture to ask about, files that failed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from shazimd.errors import BadInput, TooLarge
from shazimd.text import counted, duration
from shazimd.web.live import LiveEvent
from shazimd.web.page import Page, page_of
from shazimd.web.pictures import FILE_BYTES_MAX

MATCHES_MAX = 50
FAILED_MAX = 1000
"""Failed files in the list."""


def show_new(request: Request) -> Response:
    """The latest alerts."""
    page = page_of(request)
    return page.templates.page("new.html", tab="new", alerts=page.live.recent())


async def stream_live(request: Request) -> Response:
    """Server-sent events: ``alert`` and ``status``, each a JSON object with the HTML to show.

    The id of an event is its alert's. With such an id, in ``after`` or the header of a browser that connects again, the
    alerts since then come first."""
    shown = request.headers.get("last-event-id") or request.query_params.get("after", "")
    events = _events(page_of(request), int(shown) if shown.isdecimal() else None)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(page: Page, last_id: int | None) -> AsyncIterator[bytes]:
    queue = page.live.subscribe()
    try:
        yield b"retry: 2000\n\n"
        for alert in [] if last_id is None else page.live.since(last_id):
            last_id = alert["id"]
            yield _encoded(page, ("alert", alert))
        while (event := await queue.get()) is not None:
            if event[0] != "alert" or last_id is None or event[1]["id"] > last_id:
                yield _encoded(page, event)
    finally:
        page.live.unsubscribe(queue)


def _encoded(page: Page, event: LiveEvent) -> bytes:
    name, value = event
    number = f"id: {value['id']}\n" if name == "alert" else ""
    return f"event: {name}\n{number}data: {json.dumps(_message(page, event))}\n\n".encode()


def _message(page: Page, event: LiveEvent) -> dict[str, Any]:
    kind, value = event
    if kind == "alert":
        return {"html": page.templates.text("_alert.html", alert=value, fresh=True), "verdict": value["verdict"]}
    if kind == "gone":
        return {"state": "gone", "text": "The daemon does not answer", "more": value}
    return state_words(value)


def state_words(status: Any) -> dict[str, Any]:
    """The state of the daemon for the header: a short text, the share done (None when unknown), and more words."""
    images, pending = status["images"], status["pending"]
    left = status.get("relations", {}).get("left", 0)
    if status["state"] == "baseline" or pending:
        share = images / (images + pending) if images + pending else None
        text = f"{'First scan' if status['state'] == 'baseline' else 'Reading'}: {counted(pending, 'picture')} to go"
        return {"state": "busy", "text": text, "share": share, "more": f"{counted(images, 'picture')} known"}
    if left:
        relations = status["relations"]
        seconds = relations["seconds_left"]
        more = f"about {duration(seconds)} left" if seconds is not None else ""
        share = relations["done"] / (relations["done"] + left)
        return {
            "state": "busy",
            "text": f"Comparing: {counted(left, 'picture')} to go",
            "share": share,
            "more": more,
        }
    return {"state": status["state"], "text": counted(images, "picture"), "share": None, "more": status["state"]}


def show_ask(request: Request) -> Response:
    return page_of(request).templates.page("ask.html", tab="ask", reply=None, problem="")


async def ask(request: Request) -> Response:
    """The known pictures like the one in the form's file ``picture``."""
    page = page_of(request)
    if int(request.headers.get("content-length") or 0) > FILE_BYTES_MAX:
        raise TooLarge(f"the picture has more than {FILE_BYTES_MAX >> 20} MiB")
    async with request.form() as form:
        given = form.get("picture")
        data = await given.read() if isinstance(given, UploadFile) else b""
    reply, problem = None, ""
    if not data:
        problem = "No picture was given."
    else:
        try:
            reply = await run_in_threadpool(page.client.find, data, limit=MATCHES_MAX)
        except BadInput as error:
            problem = f"This can't be read as a picture: {error.message}"
    return page.templates.page("ask.html", 400 if problem else 200, tab="ask", reply=reply, problem=problem)


def show_failed(request: Request) -> Response:
    page = page_of(request)
    files = list(islice(page.client.failed(), FAILED_MAX + 1))
    return page.templates.page("failed.html", tab="failed", files=files[:FAILED_MAX], more=len(files) > FAILED_MAX)


async def retry_failed(request: Request) -> Response:
    """Have failed files read again: one by its link, or all."""
    page, form = page_of(request), await request.form()
    link = str(form.get("file", ""))
    path = page.pictures.path_of(link) if link else None
    await run_in_threadpool(page.client.retry_failed, path)
    return RedirectResponse("/failed", 303)


ROUTES = [
    Route("/new", show_new),
    Route("/live", stream_live),
    Route("/ask", show_ask),
    Route("/ask", ask, methods=["POST"]),
    Route("/failed", show_failed),
    Route("/failed/retry", retry_failed, methods=["POST"]),
]

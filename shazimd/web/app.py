"""The page as an ASGI application: routes, errors, and the guard around them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from shazimd.errors import BadInput, DaemonUnreachable, Forbidden, NotFound, ShazimdError, Unavailable, UsageError
from shazimd.web import cleaning, deciding, listing, watching
from shazimd.web.guard import PageAccess, PageGuard
from shazimd.web.page import Page, page_of, wants_json
from shazimd.web.render import HERE

_log = logging.getLogger(__name__)

STATUSES: dict[type[ShazimdError], int] = {
    NotFound: 404,
    BadInput: 400,
    UsageError: 400,
    Forbidden: 403,
    DaemonUnreachable: 503,
    Unavailable: 503,
}
TITLES = {
    400: "That did not work",
    403: "You may look, not change",
    404: "Not there any more",
    503: "The daemon does not answer",
}
FAULT = "Something went wrong"


def page_app(page: Page, access: PageAccess) -> Starlette:
    """The application of a page."""

    def refusal(status: int, title: str, explanation: str) -> Response:
        return page.templates.page("refused.html", status, title=title, explanation=explanation)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        page.live.start()
        yield
        page.live.end()

    routes = [*listing.ROUTES, *deciding.ROUTES, *watching.ROUTES, *cleaning.ROUTES]
    app = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=os.path.join(HERE, "static")))],
        middleware=[Middleware(PageGuard, access=access, refusal=refusal)],
        exception_handlers={ShazimdError: _show_error, HTTPException: _show_missing, Exception: _show_fault},
        lifespan=life,
    )
    app.state.page = page
    return app


def _show_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ShazimdError)
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    return _error_page(request, status, TITLES.get(status, FAULT), error.message)


def _show_fault(request: Request, error: Exception) -> Response:
    """A mistake of ours: its traceback is shown in the terminal."""
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    message = f"{type(error).__name__}: {error}. The terminal of `shazimctl web` shows more."
    return _error_page(request, 500, FAULT, message)


def _show_missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"There is nothing at {request.url.path}." if error.status_code == 404 else error.detail
    return _error_page(request, error.status_code, "No such page", message)


def _error_page(request: Request, status: int, title: str, message: str) -> Response:
    if wants_json(request):
        return JSONResponse({"error": message}, status)
    return page_of(request).templates.page("error.html", status, tab="", title=title, message=message)

"""Keep everyone but the user's own browser out of the page.

Host        only names of the loopback address: a foreign name that resolves to it (DNS rebinding) is refused
Origin      a request that changes anything must come from a page of this server (CSRF)
token       in the printed link, good for a single use by a program of the same user; answered with the cookie
cookie      HttpOnly, SameSite=Strict, with the port in its name: browsers share cookies between ports
CSP         nothing is loaded from elsewhere, no inline script or style runs
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})
"""With any port: the page may be reached through `ssh -L`."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make the Origin of a form "null"
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

ENTRY = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<title>shazimd</title><link rel="icon" href="/static/icon.svg"><a href="/">Open the page</a>"""
"""A page rather than a redirect: after a redirect from a link on another site, the strict cookie would not be sent."""

SAFE_METHODS = frozenset({"GET", "HEAD"})


class PageAccess:
    """The secret of the cookie, and the token of the next link."""

    def __init__(self, port: int, on_used: Callable[[], None]) -> None:
        self.cookie_name = f"shazimd-{port}"
        self._cookie = secrets.token_urlsafe(32)
        self._token = secrets.token_urlsafe(32)
        self._on_used = on_used
        self._port = port

    def link(self) -> str:
        """A link that opens the page once."""
        return f"http://127.0.0.1:{self._port}/?token={self._token}"

    def has_cookie(self, headers: Headers) -> bool:
        """Whether the request shows the cookie."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self._cookie.encode())

    def exchange(self, token: str) -> str | None:
        """The Set-Cookie header for the present token, which is then replaced; None for another token."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        self._token = secrets.token_urlsafe(32)
        self._on_used()
        return f"{self.cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"


Refusal = Callable[[int, str, str], Response]
"""Makes the page of a refusal, of a status, a title and an explanation."""


class PageGuard:
    """ASGI middleware: lets a request through, or answers with the reason why not."""

    def __init__(self, app: ASGIApp, access: PageAccess, refusal: Refusal) -> None:
        self._app = app
        self._access = access
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._answer(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """The response in place of the app's; None when the request may pass."""
        headers = Headers(scope=scope)
        if (problem := foreign(scope["method"], headers)) is not None:
            return self._refusal(403, "Not from here", problem)
        if scope["path"].startswith("/static/") or self._access.has_cookie(headers):
            return None
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] != "/" or not token:
            return self._refusal(401, "Open the link from the terminal", _HOW_TO_ENTER)
        if not is_of_this_user(scope["client"]):
            return self._refusal(403, "Not your page", "This page belongs to another user of this computer.")
        cookie = self._access.exchange(token)
        if cookie is None:
            return self._refusal(401, "This link was used already", _HOW_TO_ENTER)
        return HTMLResponse(ENTRY, headers={"Set-Cookie": cookie})


_HOW_TO_ENTER = (
    "A link opens the page once. The terminal in which `shazimctl web` runs shows the next link; "
    "or start `shazimctl web` again."
)


def foreign(method: str, headers: Headers) -> str | None:
    """The reason why a request is not from a page of this server, None if it is, or is a plain visit.

    >>> foreign("GET", Headers({"host": "127.0.0.1:8000"}))
    >>> foreign("GET", Headers({"host": "evil.example:8000"}))
    'The request is for evil.example:8000, expected 127.0.0.1 or localhost.'
    >>> foreign("POST", Headers({"host": "localhost:8000", "origin": "http://localhost:9"}))
    'The request comes from http://localhost:9, expected http://localhost:8000.'
    """
    host = headers.get("host", "")
    if _hostname(host) not in LOOPBACK_HOSTS:
        return f"The request is for {host or 'no host'}, expected 127.0.0.1 or localhost."
    if method in SAFE_METHODS:
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "Another site has asked for a part of this page."
        return None
    origin = headers.get("origin", "")
    if origin != f"http://{host}":
        return f"The request comes from {origin or 'an unknown page'}, expected http://{host}."
    return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_of_this_user(client: tuple[str, int] | None, table: str = "/proc/net/tcp") -> bool:
    """Whether the other end of a loopback connection belongs to this user or to root, by the kernel's table.

    A token on a browser's command line is visible to every user of the machine: it serves only ours."""
    if client is None:
        return False
    address = int.from_bytes(bytes(map(int, client[0].split("."))), "little")
    wanted = f"{address:08X}:{client[1]:04X}"
    with open(table, encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if fields[1] == wanted and fields[3] == _ESTABLISHED:
                return int(fields[7]) in (os.geteuid(), 0)
    return False


_ESTABLISHED = "01"

"""Serve the page on the loopback address until a signal ends it."""

from __future__ import annotations

import os
import socket
import webbrowser
from typing import TYPE_CHECKING

import uvicorn

from shazimd.client import Client
from shazimd.config import WorkersConfig
from shazimd.errors import Unavailable
from shazimd.web.app import page_app
from shazimd.web.browse import GroupLists
from shazimd.web.cache import PictureCache, cache_directory
from shazimd.web.cleanup import CleanUp
from shazimd.web.guard import PageAccess
from shazimd.web.live import LiveHub
from shazimd.web.page import Page
from shazimd.web.pictures import ScreenPictures
from shazimd.web.render import Templates
from shazimd.workers.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "127.0.0.1"
WORKERS_MAX = 4
"""Pictures decoded at once: a browser asks for six."""
END_S = 1


def serve(client: Client, port: int, say: Callable[[str], None], browser: bool) -> None:
    """Serve until SIGINT or SIGTERM. ``say`` prints the link, and another after each use.

    Raises DaemonUnreachable without a daemon, Unavailable when the port is taken."""
    last = client.status()["last_alert"]
    limits = WorkersConfig()
    processes = min(WORKERS_MAX, limits.processes)
    with (
        listen(port) as listening,
        WorkerPool(processes, limits.memory_mb, limits.timeout_s, limits.max_pixels) as pool,
    ):
        access = PageAccess(listening.getsockname()[1], lambda: say(f"Opened. For another browser: {access.link()}"))
        page = page_of_daemon(client, pool, limits.max_pixels, known=last["id"] if last else 0)
        server = PageServer(page, access)
        with server.capture_signals():  # from before the link is told: imports may swallow a KeyboardInterrupt
            say(f"The page is at {access.link()}")
            say("The link opens it once. Ctrl-C ends it.")
            if browser and _has_display():
                webbrowser.open(access.link())
            server.run(sockets=[listening])


def page_of_daemon(client: Client, pool: WorkerPool, max_pixels: int, *, known: int = 0) -> Page:
    """The parts of a page, not yet running. ``known``: see ``LiveHub``."""
    pictures = ScreenPictures(pool, PictureCache(cache_directory()), max_pixels)
    return Page(
        client,
        pictures,
        GroupLists(client),
        LiveHub(client, known),
        CleanUp(client),
        Templates(pictures.link, pictures.version),
    )


class PageServer(uvicorn.Server):
    """Ends the streams of the tabs first: uvicorn would wait for them."""

    def __init__(self, page: Page, access: PageAccess) -> None:
        super().__init__(
            uvicorn.Config(
                page_app(page, access),
                log_level="critical",  # _show_fault logs errors; pictures that nobody waits for any more are none
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=END_S,
            )
        )
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._page.live.end()
        await super().shutdown(sockets)


def listen(port: int) -> socket.socket:
    """A socket that listens on the loopback address; port 0 is a free one. Raises Unavailable."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
    except OSError as error:
        listening.close()
        reason = "another page may be running there" if port else "no port is free"
        raise Unavailable(f"{ADDRESS}:{port}: {error.strerror}; {reason}. Choose another with --port") from error
    listening.listen(128)
    return listening


def _has_display() -> bool:
    """Whether a graphical browser can be shown: a text browser would take over the terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

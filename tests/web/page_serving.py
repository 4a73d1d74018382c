"""A page that runs in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from album import PIXELS_MAX
from fake_client import FakeClient

from shazimd.client import Client
from shazimd.web.guard import PageAccess
from shazimd.web.page import Page
from shazimd.web.serve import PageServer, listen, page_of_daemon
from shazimd.workers.pool import WorkerPool


class ServedPage:
    """A page that runs, its daemon, and the links that its terminal would show."""

    def __init__(self, page: Page, access: PageAccess, port: int, client: FakeClient) -> None:
        self.page = page
        self.access = access
        self.port = port
        self.client = client
        self.address = f"http://127.0.0.1:{port}"


@contextmanager
def served(client: FakeClient, pool: WorkerPool) -> Iterator[ServedPage]:
    """A page on a free port, in a thread."""
    page = page_of_daemon(cast(Client, client), pool, PIXELS_MAX)
    with listen(0) as listening:
        port = listening.getsockname()[1]
        access = PageAccess(port, lambda: None)
        server = PageServer(page, access)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield ServedPage(page, access, port, client)
        finally:
            server.should_exit = True
            thread.join()

"""The server's thread."""

from __future__ import annotations

import asyncio
import math
import socket
import threading

import uvicorn
from starlette.applications import Starlette

from shazimd.errors import InternalError
from shazimd.server.guard import GuardedProtocol


class Server:
    """Serves an app on listening sockets, in a thread of its own. The sockets are closed by ``stop``."""

    def __init__(self, app: Starlette, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._uvicorn = _Uvicorn(app)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self, timeout_s: float = 60.0) -> None:
        """Start, and return once requests are answered. Raises InternalError after ``timeout_s``."""
        self._thread.start()
        if not self._uvicorn.ready.wait(timeout_s) or not self._thread.is_alive():
            raise InternalError("the server did not start; the log says why")

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Refuse new requests, end the streams, finish running requests; True if all finished in time.

        The others are abandoned. Stopping twice, or before the start, is allowed."""
        if self._thread.is_alive():
            self._uvicorn.end(timeout_s)
            self._thread.join(timeout_s + 1.0)
        for listener in self._sockets:
            listener.close()
        return not self._thread.is_alive() and not self._uvicorn.abandoned

    def alive(self) -> bool:
        """Whether the event loop is running."""
        return self._thread.is_alive()

    def responds(self, timeout_s: float) -> bool:
        """Whether the event loop takes its turn within ``timeout_s``. Needs no connection, which clients may use up."""
        return self._thread.is_alive() and self._uvicorn.turns(timeout_s)

    def _run(self) -> None:
        try:
            self._uvicorn.run(sockets=list(self._sockets))
        finally:
            self._uvicorn.ready.set()  # ends the wait for a failed start


class _Uvicorn(uvicorn.Server):
    """uvicorn without its ten wake-ups a second: idle until ``end`` is called."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=GuardedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # uvicorn warns about every invalid request
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )
        self.ready = threading.Event()
        self.abandoned = False
        self._app = app

    def end(self, timeout_s: float) -> None:
        """Stop the main loop. May be called from any thread after ``ready``."""
        self.config.timeout_graceful_shutdown = math.ceil(timeout_s)
        self._loop.call_soon_threadsafe(self._ended.set)

    def turns(self, timeout_s: float) -> bool:
        """Whether the event loop runs a callback within ``timeout_s``. For any thread, after ``ready``."""
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(timeout_s)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.ready.set()
        await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.end_streams()
        await super().shutdown(sockets)
        self.abandoned = bool(self.server_state.tasks)

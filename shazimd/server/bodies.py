"""Reads the bodies of requests, within limits of size, time and memory.

A body is in memory until its response is sent: a picture once, in memory of its own that a worker gets. The bodies of
all requests together have a limit, too, and half of that is the limit of a user: beyond, requests are refused before
the daemon runs out of memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from shazimd.errors import TooLarge, Unavailable, UsageError
from shazimd.posix import memory
from shazimd.posix.sealed import GrowingBytes, SealedBytes
from shazimd.server.forms import FormFiles
from shazimd.server.users import Shares

IDLE_S = 30.0
"""The longest silence within a body: a phone's upload over a tunnel stalls for seconds, not for half a minute."""
TOTAL_S = 120.0
"""The longest time of a body: the largest of 512 MiB at 4 MiB/s. A body that trickles holds memory no longer."""
MEMORY_SHARE = 8
"""The bodies together take at most an eighth of the memory, at least HELD_BYTES_MIN."""
HELD_BYTES_MIN = 64 << 20

FORM_OVERHEAD_BYTES = 65536
"""Boundaries and headers around the parts of a form."""


class BodyTimeout(Exception):
    """The client stopped sending in the middle of a body."""


def memory_budget(max_bytes: int) -> int:
    """Memory for all bodies together on this machine, for bodies of at most ``max_bytes``."""
    return max(HELD_BYTES_MIN, min(4 * max_bytes, memory.usable_bytes() // MEMORY_SHARE))


class Bodies:
    """Reads bodies of at most ``max_bytes`` each and ``held_max_bytes`` together, half of them by one user."""

    def __init__(self, max_bytes: int, held_max_bytes: int, idle_s: float = IDLE_S, total_s: float = TOTAL_S) -> None:
        self._user_max_bytes = held_max_bytes // 2
        self._max_bytes = min(max_bytes, self._user_max_bytes)
        self._held = Shares("bytes of pictures in memory", self._user_max_bytes, held_max_bytes)
        self._idle_s = idle_s
        self._total_s = total_s

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
        end = time.monotonic() + self._total_s
        while True:
            left_s = end - time.monotonic()
            try:
                async with asyncio.timeout(min(self._idle_s, left_s)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if left_s < self._idle_s:
                    raise BodyTimeout(f"the body took more than {self._total_s:g} s") from error
                raise BodyTimeout(f"nothing of the body came for {self._idle_s:g} s") from error
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

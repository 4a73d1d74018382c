"""Reads the pictures of requests, within limits of size, time and memory.

A body is in memory until its response is sent. The bodies of all requests together have a limit, too: beyond, requests
are refused before the daemon runs out of memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from shazimd.errors import TooLarge, Unavailable, UsageError

IDLE_S = 30.0
"""The longest silence within a body: a phone's upload over a tunnel stalls for seconds, not for half a minute."""

FORM_OVERHEAD_BYTES = 65536
"""Boundaries and headers around the parts of a form."""


class BodyTimeout(Exception):
    """The client stopped sending in the middle of a body."""


class Bodies:
    """Reads bodies of at most ``max_bytes`` each and ``held_max_bytes`` together."""

    def __init__(self, max_bytes: int, held_max_bytes: int, idle_s: float = IDLE_S) -> None:
        self._max_bytes = max_bytes
        self._free = held_max_bytes
        self._idle_s = idle_s

    @asynccontextmanager
    async def picture(self, request: Request) -> AsyncIterator[bytes]:
        """The body, counted as in memory until the block ends.

        Raises TooLarge, Unavailable (memory limit), UsageError (empty body), BodyTimeout, ClientDisconnect."""
        async with self._read(request, self._max_bytes) as data:
            if not data:
                raise UsageError("the body is empty, expected the bytes of an image")
            yield data

    @asynccontextmanager
    async def pictures(self, request: Request, *names: str) -> AsyncIterator[list[bytes]]:
        """The files of a form (multipart/form-data) under these names, in their order; errors as for ``picture``."""
        async with self._read(request, len(names) * self._max_bytes + FORM_OVERHEAD_BYTES) as body:
            parts = await _files(request, body)
            expected = f"expected multipart/form-data with the files {' and '.join(names)}"
            if sorted(parts) != sorted(names):
                raise UsageError(f"the form has {' and '.join(sorted(parts)) or 'no file'}, {expected}")
            for name in names:
                _check_size(len(parts[name]), self._max_bytes)
            yield [parts[name] for name in names]

    @asynccontextmanager
    async def _read(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        announced = request.headers.get("content-length", "0")
        _check_size(int(announced) if announced.isdigit() else 0, max_bytes)
        chunks: list[bytes] = []
        held = 0
        try:
            async for chunk in self._timed(request.stream()):
                held += len(chunk)
                _check_size(held, max_bytes)
                self._take(len(chunk))
                chunks.append(chunk)
            yield b"".join(chunks)
        finally:
            self._free += sum(map(len, chunks))

    async def _timed(self, stream: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._idle_s):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise BodyTimeout(f"nothing of the body came for {self._idle_s:g} s") from error
            yield chunk

    def _take(self, size: int) -> None:
        if size > self._free:
            raise Unavailable("too many large pictures are being asked about at once; ask again")
        self._free -= size


class _InMemory(MultiPartParser):
    """starlette's parser would write files over 1 MB to the disk; the body's limit is checked before."""

    spool_max_size = sys.maxsize


async def _files(request: Request, body: bytes) -> dict[str, bytes]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return {}
    try:
        form = await _InMemory(request.headers, whole(), max_files=2, max_fields=0).parse()
    except MultiPartException as error:
        raise UsageError(f"the form can't be read: {error.message}") from error
    try:
        return {name: await file.read() for name, file in form.multi_items() if isinstance(file, UploadFile)}
    finally:
        await form.close()


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(f"the body has {size} bytes or more, expected at most {max_bytes}")

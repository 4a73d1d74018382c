"""Pictures for the screen: read with the user's rights, decoded in workers, kept in a cache.

A link names a path and carries a signature: only files that the page has shown can be asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from shazimd.errors import BadInput, NotFound, TooLarge, Unreadable
from shazimd.web.cache import PictureCache
from shazimd.web.places import host_of
from shazimd.workers.jobs import matched_points, rendition, upright_size
from shazimd.workers.pool import WorkerPool

SIDES = {"small": 480, "view": 1600, "full": 5000}
"""Longer side in pixels: in a list on a screen of two pixels a point, of a pair, of a pair under the lens."""
FILE_BYTES_MAX = 512 << 20
"""As the daemon's default of ``[workers] max_file_mb``; the bytes of a file are in memory while it is decoded."""


class PictureFile(NamedTuple):
    jpeg: bytes
    key: str
    """equal for the same bytes of the file: an entity tag"""


class ReadPicture(NamedTuple):
    data: bytes
    width: int
    height: int
    mtime: float


class ScreenPictures:
    """Renditions of the user's files. Thread-safe."""

    def __init__(self, pool: WorkerPool, cache: PictureCache, max_pixels: int) -> None:
        self._pool = pool
        self._cache = cache
        self._max_pixels = max_pixels
        self._secret = secrets.token_bytes(32)

    def link(self, path: bytes) -> str:
        """The name of a file in links."""
        return f"{urlsafe_b64encode(path).decode().rstrip('=')}.{self._signature(path)}"

    def path_of(self, link: str) -> bytes:
        """The file of a link. Raises NotFound for a link that this process has not made."""
        name, _, signature = link.rpartition(".")
        try:
            path = urlsafe_b64decode(name + "=" * (-len(name) % 4))
        except ValueError as error:
            raise NotFound("no such picture: the link is cut short") from error
        if not hmac.compare_digest(signature.encode(), self._signature(path).encode()):
            raise NotFound("no such picture: the link is from an earlier start of this page; load the page again")
        return path

    def key(self, path: bytes, size: str) -> str:
        """The key of a file as it is now. Raises NotFound, Unreadable or BadInput."""
        return _key(_state(path), size)

    def version(self, path: bytes) -> str:
        """Text for a link that differs whenever the file may; empty for a file that can't be read."""
        try:
            return self.key(path, "view")[:16]
        except BadInput:
            return ""

    def get(self, path: bytes, size: str) -> PictureFile:
        """The file as a JPEG of one of ``SIDES``.

        Raises NotFound, Unreadable, BadInput, NotAnImage, TooLarge or WorkerFailed."""
        key = self.key(path, size)
        known = self._cache.get(key)
        if known is not None:
            return PictureFile(known, key)
        data, state = _read(path)
        key = _key(state, size)
        jpeg = self._pool.submit(rendition, data, SIDES[size], self._max_pixels).result()
        self._cache.put(key, jpeg)
        return PictureFile(jpeg, key)

    def read(self, path: bytes) -> ReadPicture:
        """The bytes of a file with its facts. Errors as for ``get``."""
        data, state = _read(path)
        size = self._pool.submit(upright_size, data, self._max_pixels).result()
        return ReadPicture(data, *size, state.st_mtime)

    def matched_points(self, first: bytes, member: bytes) -> list[tuple[float, float, float, float]]:
        """Points that match, as fractions: x, y in the first file, x, y in the other. Errors as for ``get``."""
        data = [_read(path)[0] for path in (member, first)]
        return self._pool.submit(matched_points, *data, self._max_pixels).result()

    def _signature(self, path: bytes) -> str:
        return hmac.digest(self._secret, path, "sha256").hex()[:32]


def problem_with(path: bytes) -> str | None:
    """The reason why a file can't be shown, in a few words; None for a readable regular file."""
    try:
        os.close(_open(path))
    except BadInput as error:
        return error.message
    return None


def _key(state: os.stat_result, size: str) -> str:
    """Differs whenever the file may: ctime changes with every write and rename."""
    facts = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, SIDES[size])
    return hashlib.blake2b(repr(facts).encode(), digest_size=20).hexdigest()


def _state(path: bytes) -> os.stat_result:
    descriptor = _open(path)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _open(path: bytes) -> int:
    """A descriptor of a regular file; symbolic links are not followed, as the daemon does not follow them."""
    if host_of(path):
        raise NotFound("on another host")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound("no longer there") from error
    except PermissionError as error:
        raise Unreadable("you have no right to read this file") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadInput("not a regular file")
    return descriptor


def _read(path: bytes) -> tuple[bytes, os.stat_result]:
    with open(_open(path), "rb") as file:
        state = os.fstat(file.fileno())
        if state.st_size > FILE_BYTES_MAX:
            raise TooLarge(f"{state.st_size} bytes, expected at most {FILE_BYTES_MAX}")
        try:
            return file.read(FILE_BYTES_MAX + 1), state
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error

"""Pictures for the screen as files in the user's cache directory, with a bound on their bytes."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress

from shazimd.paths import xdg

BYTES_MAX = 512 << 20
"""Some 20,000 pictures of a list, at 25 kB each."""
_KEPT = 0.8
"""Share of the bound that is left after a removal: removals are rare then."""


def cache_directory() -> str:
    return os.path.join(xdg("XDG_CACHE_HOME", "~/.cache"), "shazimd", "pictures")


class PictureCache:
    """Bytes by key. The files used longest ago are removed beyond the bound. Thread-safe.

    A cache that can't be written holds nothing, and raises nothing."""

    def __init__(self, directory: str, bytes_max: int = BYTES_MAX) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._bytes: int | None = None
        """None until the files were counted, at the first write"""

    def get(self, key: str) -> bytes | None:
        """The bytes under a key of hexadecimal digits; None when there are none."""
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)  # used now
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep the bytes: whole, or not at all."""
        path = self._path(key)
        with suppress(OSError):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as file:
                file.write(data)
            os.replace(file.name, path)
            self._count(len(data))

    def _path(self, key: str) -> str:
        return os.path.join(self._directory, key[:2], key[2:])

    def _count(self, added: int) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += added
            if self._bytes > self._bytes_max:
                self._bytes = self._shrink()

    def _shrink(self) -> int:
        """Remove files, the longest unused first; return the bytes left."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= self._bytes_max * _KEPT:
                break
            with suppress(OSError):
                os.unlink(path)
            left -= size
        return left

    def _files(self) -> list[tuple[float, int, str]]:
        """(time of the last use, size, path) of each file."""
        found = []
        for directory, _, names in os.walk(self._directory):
            for name in names:
                path = os.path.join(directory, name)
                with suppress(OSError):
                    status = os.stat(path)
                    found.append((status.st_mtime, status.st_size, path))
        return found

"""A limit for the bytes of files in memory, which many threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Safe from any thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._free = limit_bytes
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        """held by the only thread that waits for memory: a large file is not overtaken by small ones for ever"""

    def has_room(self, size: int) -> bool:
        """Whether ``taking`` would not wait at this moment."""
        return not self._turn.locked() and self._free >= min(size, self._limit)

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """While entered, this many bytes are taken; waits for them. A larger size than the limit takes all of it."""
        size = min(size, self._limit)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()

"""The backfill's progress, which searches and alerts ask for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from shazimd.types import ContentId


class Filling:
    """Contents whose vector or local features the backfill has still to make. Safe from any thread."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._ahead = 0
        """number of contents that the present pass has still to offer"""
        self._offered: set[ContentId] = set()
        """contents that are being made"""
        self._queue: deque[ContentId] = deque()
        """contents to be made beside the pass"""
        self._wanted: set[ContentId] = set()
        """contents of known files that were stored: alerts wait for these"""
        self._failed: set[ContentId] = set()
        """contents whose files were read, and gave no vector or features"""
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Number of contents, for a report."""
        with self._lock:
            return self._ahead + len(self._offered) + len(self._queue)

    def begin(self, contents: int) -> None:
        """Start over, with this number of contents; a run that was stopped may have left some."""
        with self._lock:
            self._ahead = contents
            self._offered.clear()
            self._failed.clear()
            self._queue = deque(self._wanted)

    def offer(self, contents: Sequence[ContentId]) -> None:
        """These contents of the pass are being made."""
        with self._lock:
            self._ahead = max(0, self._ahead - len(contents))
            self._offered.update(contents)

    def made(self, content: ContentId) -> None:
        """A content was made, or can't be."""
        with self._lock:
            self._offered.discard(content)
            self._wanted.discard(content)

    def want(self, content: ContentId) -> None:
        """Have a content made whose file was read just now."""
        with self._lock:
            if content not in self._wanted:
                self._wanted.add(content)
                self._queue.append(content)

    def is_wanted(self, content: ContentId | None) -> bool:
        """Whether a content that was wanted is still to be made."""
        return content in self._wanted

    def has_queue(self) -> bool:
        """Whether contents wait to be made beside the pass over all."""
        return bool(self._queue)

    def take(self, limit: int) -> list[ContentId]:
        """Some of these, which are being made from now on."""
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
            self._offered.update(taken)
        return taken

    def fail(self, content: ContentId) -> None:
        """Do not try a content again before the next pass."""
        with self._lock:
            self._failed.add(content)

    def has_failed(self, content: ContentId) -> bool:
        return content in self._failed

    def complete(self, model: str | None) -> None:
        """All contents were offered for a model; the last may still be under way."""
        with self._lock:
            self._ahead, self._model = 0, model

    def is_complete(self, model: str | None) -> bool:
        """Whether every content has all that can be made with this model."""
        with self._lock:
            return self._model == model and not self._offered

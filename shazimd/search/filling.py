"""The backfill's progress, which searches and alerts ask for."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from shazimd.types import ContentId


class Filling:
    """Contents whose vector or local features the backfill has still to make. Safe from any thread."""

    def __init__(self) -> None:
        self.left = 0
        """number of contents, for a report"""
        self._model: str | None = None
        self._offered: set[ContentId] = set()
        self._lock = threading.Lock()

    def begin(self, contents: int) -> None:
        """Start over, with this number of contents; a run that was stopped may have left some."""
        with self._lock:
            self.left = contents
            self._offered.clear()

    def offer(self, contents: Iterable[ContentId]) -> None:
        """These contents are being made."""
        with self._lock:
            self._offered.update(contents)

    def made(self, content: ContentId) -> None:
        with self._lock:
            self.left = max(0, self.left - 1)
            self._offered.discard(content)

    def complete(self, model: str | None) -> None:
        """All contents were offered for a model; the last may still be under way."""
        with self._lock:
            self.left, self._model = 0, model

    def is_complete(self, model: str | None) -> bool:
        """Whether every content has all that can be made with this model."""
        with self._lock:
            return self._model == model and not self._offered

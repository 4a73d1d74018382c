"""The durable writes that changed files of this host, counted, with a wait for the next."""

from __future__ import annotations

import threading


class FileChanges:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._ended = False

    @property
    def number(self) -> int:
        """Writes since the opening of the store."""
        return self._number

    def add(self) -> None:
        """Count a durable write."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()

    def wait(self, after: int, timeout_s: float) -> None:
        """Wait until there were more writes than ``after``, the time is over, or waits were ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._ended, timeout_s)

    def end_waits(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

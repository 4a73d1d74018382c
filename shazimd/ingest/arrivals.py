"""The order of arrival of files with undecided alerts."""

from __future__ import annotations

import threading


class Arrivals:
    """The order in which files were committed, as far as undecided alerts depend on the order.

    Two similar files with simultaneous arrival find each other. The search for the earlier ignores the later, whose own
    search finds the earlier. Numbers are given in the transaction, in the order of the commits, and published after the
    commit, once the file can be found. A number may be lost with its transaction."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.last = 0
        """the last number given"""
        self.visible = 0
        """the last number published: a search from now on finds all files up to this number"""
        self._numbers: dict[bytes, int] = {}
        self._undecided: set[int] = set()

    def add(self, path: bytes | None) -> int:
        """Number the next file; None for a file without an alert, which any search may find."""
        with self._lock:
            self.last += 1
            if path is not None:
                self._numbers[path] = self.last
            return self.last

    def publish(self, number: int, *, undecided: bool) -> None:
        """Note a committed file that searches find. Calls must be in the order of the numbers."""
        with self._lock:
            self.visible = number
            if undecided:
                self._undecided.add(number)
            else:
                self._prune()

    def decided(self, number: int) -> None:
        with self._lock:
            self._undecided.discard(number)
            self._prune()

    def is_undecided(self, path: bytes) -> bool:
        """Whether the alert of a file is still to be decided."""
        with self._lock:
            return self._numbers.get(path) in self._undecided

    def is_later(self, path: bytes, number: int) -> bool:
        """Whether a file arrived after the file with this number."""
        with self._lock:
            return self._numbers.get(path, 0) > number

    def _prune(self) -> None:
        """Drop numbers lower than all undecided ones."""
        needed = min(self._undecided, default=self.visible + 1)
        self._numbers = {path: each for path, each in self._numbers.items() if each >= needed}

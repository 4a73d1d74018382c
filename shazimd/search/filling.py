"""The backfill's progress, which searches and alerts ask for."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence

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
        """contents to be made beside the pass, wanted ones first"""
        self._wanted: set[ContentId] = set()
        """contents of known files that were stored: alerts wait for these"""
        self._failed: set[ContentId] = set()
        """contents whose files were read, and gave no vector or features"""
        self._passed_over: dict[frozenset[bytes], array[int]] = {}
        """contents whose files could not be read or decoded for now, by the roots of these files"""
        self._is_passing = True  # or about to: nothing is complete before the first pass
        self._reported: int | None = None
        self.wake: Callable[[], object] = lambda: None
        """lets the backfill take what is in the queue"""
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Number of contents, for a report."""
        with self._lock:
            return self._ahead + len(self._offered) + len(self._queue) + self._count_passed_over()

    def begin(self, contents: int) -> None:
        """Start over, with this number of contents; a run that was stopped may have left some."""
        with self._lock:
            self._ahead, self._is_passing = contents, True
            self._reported = None if contents else 0
            self._offered.clear()
            self._passed_over.clear()
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

    def pass_over(self, content: ContentId, roots: frozenset[bytes]) -> None:
        """No file of a content can be read or decoded for now; they lie in these roots."""
        with self._lock:
            self._passed_over.setdefault(roots, array("Q")).append(content)

    def try_again(self, root: bytes) -> int:
        """Have the contents made that were passed over with a file in this root; their number."""
        with self._lock:
            again = [roots for roots in self._passed_over if root in roots]
            contents = [content for roots in again for content in self._passed_over.pop(roots)]
            self._queue.extend(contents)
            return len(contents)

    def want(self, content: ContentId) -> None:
        """Have a content made whose file was read just now."""
        with self._lock:
            if content not in self._wanted:
                self._wanted.add(content)
                self._queue.appendleft(content)

    def mend(self, content: ContentId) -> None:
        """Have a content made of which a read found a damaged row."""
        self.want(content)
        self.wake()

    def is_wanted(self, content: ContentId | None) -> bool:
        """Whether a content that was wanted is still to be made."""
        return content in self._wanted

    def has_queue(self) -> bool:
        """Whether contents wait to be made beside the pass over all."""
        return bool(self._queue)

    def has_wanted(self) -> bool:
        """Whether alerts wait for the first of these."""
        with self._lock:
            return bool(self._queue) and self._queue[0] in self._wanted

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
            self._ahead, self._is_passing, self._model = 0, False, model

    def report(self) -> int | None:
        """The number of contents passed over, when nothing is left to do and it differs from the last one told."""
        with self._lock:
            number = self._count_passed_over()
            if self._is_passing or self._offered or self._queue or number == self._reported:
                return None
            self._reported = number
            return number

    def is_complete(self, model: str | None) -> bool:
        """Whether every content has all that can be made with this model of the files that can be read."""
        with self._lock:
            return self._model == model and not self._offered

    def _count_passed_over(self) -> int:
        return sum(map(len, self._passed_over.values()))

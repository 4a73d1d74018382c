"""The queue of jobs of a worker pool: questions first, and one keeper that takes nothing else."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

GRACE_S = 0.02
"""A keeper that has just given a result is free again within less: such a question is no reason to start a worker."""


class Priority(IntEnum):
    STOP = 0
    QUESTION = 1
    """a person or a program waits for the answer"""
    ARRIVAL = 2
    """a new file: any, so also the work of a hostile one"""
    SCAN = 3


class Ranked(Protocol):
    @property
    def priority(self) -> int:
        """a ``Priority``"""

    def __lt__(self, other: Any, /) -> bool: ...


J = TypeVar("J", bound=Ranked)


class JobQueue(Generic[J]):
    """Thread-safe. The least job first."""

    def __init__(self) -> None:
        self._jobs: list[J] = []
        self._changed = threading.Condition()
        self._free = 0
        """keepers of all jobs that wait for one"""

    def put(self, job: J) -> None:
        with self._changed:
            heapq.heappush(self._jobs, job)
            self._changed.notify_all()

    def take(self, begin: Callable[[J], None]) -> J:
        """The next job. ``begin`` has it before ``clear`` can look again: no job is neither here nor begun."""
        with self._changed:
            self._free += 1
            self._changed.wait_for(lambda: self._jobs)
            self._free -= 1
            return self._taken(begin)

    def take_question(self, begin: Callable[[J], None], timeout_s: float | None, grace_s: float) -> J | None:
        """As ``take``, the next question that finds every keeper of all jobs at work for ``grace_s``, or the end; None
        after ``timeout_s`` without."""
        with self._changed:
            while self._changed.wait_for(self._is_due, timeout_s):
                if not (grace_s and self._changed.wait_for(lambda: not self._is_due(), grace_s)):
                    return self._taken(begin)
            return None

    def _is_due(self) -> bool:
        return bool(self._jobs) and not self._free and self._jobs[0].priority <= Priority.QUESTION

    def clear(self, less_urgent_than: Priority) -> list[J]:
        """Remove and return the less urgent jobs."""
        with self._changed:
            removed = [job for job in self._jobs if job.priority > less_urgent_than]
            self._jobs = sorted(job for job in self._jobs if job.priority <= less_urgent_than)  # a heap, too
            return removed

    def _taken(self, begin: Callable[[J], None]) -> J:
        job = heapq.heappop(self._jobs)
        begin(job)
        self._changed.notify_all()  # the next job may find no other keeper free
        return job

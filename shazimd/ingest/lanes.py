"""Jobs by key, on a few threads: a key offered twice runs once, and once more if offered during its run.

Lanes are priorities: new files before the backlog of a scan, the backlog before background work, and that before idle
work, which no one waits for.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from enum import IntEnum

import structlog

log = structlog.get_logger()

Work = Callable[[], object]


class Lane(IntEnum):
    LIVE = 0
    BACKLOG = 1
    BACKFILL = 2
    IDLE = 3


class Jobs:
    def __init__(self, threads: int) -> None:
        self._lanes: dict[Lane, OrderedDict[Hashable, Work]] = {lane: OrderedDict() for lane in Lane}
        self._running: dict[Hashable, Lane] = {}
        self._again: dict[Hashable, tuple[Work, Lane]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name=f"job-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, key: Hashable, work: Work, lane: Lane) -> None:
        """Run work once for ``key``: the last work offered, in the most urgent lane offered."""
        with self._changed:
            if self._closing:
                return
            if key in self._running:
                self._again[key] = (work, min(lane, self._again.get(key, (work, lane))[1]))
            else:
                self._enqueue(key, work, lane)
                self._changed.notify()

    def pending(self, lane: Lane | None = None) -> int:
        """Number of queued and running jobs, in a lane or in all but IDLE."""
        with self._changed:
            running = Counter(self._running.values())
            lanes = [each for each in Lane if each is not Lane.IDLE] if lane is None else [lane]
            again = sum(1 for _, each in self._again.values() if each is not Lane.IDLE)
            return sum(len(self._lanes[each]) + running[each] for each in lanes) + again

    def drop(self) -> None:
        """Drop the queued jobs and accept no others: a scan finds their files again."""
        with self._changed:
            self._closing = True
            for lane in self._lanes.values():
                lane.clear()
            self._again.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """``drop``, and finish the running jobs."""
        self.drop()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, key: Hashable, work: Work, lane: Lane) -> None:
        for other in Lane:
            if key in self._lanes[other]:
                if other <= lane:
                    lane = other  # keeps its place in the queue
                else:
                    del self._lanes[other][key]
        self._lanes[lane][key] = work

    def _run(self) -> None:
        while job := self._next():
            key, work = job
            try:
                work()
            except Exception:  # a fault in one job must not end the thread of all others
                if self._closing:
                    log.debug("job_given_up", key=key, exc_info=True)
                else:
                    log.exception("job_failed", key=key)
            finally:
                self._finish(key)

    def _next(self) -> tuple[Hashable, Work] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or any(self._lanes.values()))
            for lane, waiting in self._lanes.items():
                if waiting:
                    key, work = waiting.popitem(last=False)
                    self._running[key] = lane
                    return key, work
            return None

    def _finish(self, key: Hashable) -> None:
        with self._changed:
            del self._running[key]
            if key in self._again:
                self._enqueue(key, *self._again.pop(key))
                self._changed.notify()

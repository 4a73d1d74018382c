"""Jobs by key, on a few threads: a key offered twice runs once, and once more if offered during its run.

Lanes are priorities: new files before the backlog of a scan, the backlog before background work, and that before idle
work, which no one waits for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import NamedTuple

import structlog

log = structlog.get_logger()

GROUP_SHARE = 4
"""One thread of so many may run jobs of one group."""
PATIENCE_S = 5.0
"""Longest wait at the end for jobs of groups, which may hang."""
FINISH_S = 1.0
"""How long the end waits for jobs before it gives up their work in other processes: files in hand are mostly stored by
then, and a hostile one would take a minute."""
FINISH_MAX_S = 15.0
"""Longest wait at the end for all other jobs: one may read a file of a mount that hangs, though its own file lies
elsewhere. systemd kills the daemon after 30 s."""
GIVE_UP_EVERY_S = 0.1
"""A job may have begun that work since the last time."""

Work = Callable[[], object]


class Lane(IntEnum):
    LIVE = 0
    BACKLOG = 1
    BACKFILL = 2
    IDLE = 3


class _Job(NamedTuple):
    work: Work
    lane: Lane
    group: Hashable


class Jobs:
    """Jobs of a group may hang, as reads of a network mount do: they never take all threads."""

    def __init__(self, threads: int) -> None:
        self._lanes: dict[Lane, OrderedDict[Hashable, _Job]] = {lane: OrderedDict() for lane in Lane}
        self._running: dict[Hashable, _Job] = {}
        self._again: dict[Hashable, _Job] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._group_max = max(1, threads // GROUP_SHARE)
        self._threads = [
            threading.Thread(target=self._run, name=f"job-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, key: Hashable, work: Work, lane: Lane, group: Hashable = None) -> None:
        """Run work once for ``key``: the last work offered, in the most urgent lane offered."""
        with self._changed:
            if self._closing:
                return
            if key in self._running:
                again = self._again.get(key)
                self._again[key] = _Job(work, min(lane, again.lane) if again else lane, group)
            else:
                self._enqueue(key, _Job(work, lane, group))
                self._changed.notify()

    def pending(self, lane: Lane | None = None) -> int:
        """Number of queued and running jobs, in a lane or in all but IDLE."""
        with self._changed:
            running = Counter(job.lane for job in self._running.values())
            lanes = [each for each in Lane if each is not Lane.IDLE] if lane is None else [lane]
            again = sum(1 for job in self._again.values() if job.lane is not Lane.IDLE)
            return sum(len(self._lanes[each]) + running[each] for each in lanes) + again

    def drop(self) -> None:
        """Drop the queued jobs and accept no others: a scan finds their files again."""
        with self._changed:
            self._closing = True
            for lane in self._lanes.values():
                lane.clear()
            self._again.clear()
            self._changed.notify_all()

    def close(self, give_up: Callable[[], object] = lambda: None) -> None:
        """``drop``, and finish the running jobs. Threads that hang in a job are left behind.

        ``give_up`` is called again and again when they take long: it makes jobs fail that wait for other processes."""
        self.drop()
        timeout_s, end = FINISH_S, time.monotonic() + FINISH_MAX_S
        while not self._are_finished(timeout_s) and time.monotonic() < end:
            give_up()
            timeout_s = GIVE_UP_EVERY_S
        with self._changed:
            self._changed.wait_for(lambda: not self._running, min(PATIENCE_S, max(0.0, end - time.monotonic())))
            hanging = list(self._running)
        if hanging:
            log.warning("jobs_left_behind", jobs=len(hanging), example=hanging[0])
        for thread in self._threads if not hanging else ():
            thread.join()

    def _are_finished(self, timeout_s: float) -> bool:
        """Whether all jobs without a group end in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(job.group is not None for job in self._running.values()), timeout_s
            )

    def _enqueue(self, key: Hashable, job: _Job) -> None:
        lane = job.lane
        for other in Lane:
            if key in self._lanes[other]:
                if other <= lane:
                    lane = other  # keeps its place in the queue
                else:
                    del self._lanes[other][key]
        self._lanes[lane][key] = job._replace(lane=lane)

    def _run(self) -> None:
        while found := self._next():
            key, job = found
            try:
                job.work()
            except Exception:  # a fault in one job must not end the thread of all others
                if self._closing:
                    log.debug("job_given_up", key=key, exc_info=True)
                else:
                    log.exception("job_failed", key=key)
            finally:
                self._finish(key)

    def _next(self) -> tuple[Hashable, _Job] | None:
        with self._changed:
            while not self._closing:
                if (key := self._runnable()) is not None:
                    job = next(lane.pop(key) for lane in self._lanes.values() if key in lane)
                    self._running[key] = job
                    return key, job
                self._changed.wait()
            return None

    def _runnable(self) -> Hashable | None:
        """The key of the first job whose group has a thread to spare."""
        groups = Counter(job.group for job in self._running.values() if job.group is not None)
        full = {group for group, running in groups.items() if running >= self._group_max}
        waiting = (item for lane in self._lanes.values() for item in lane.items())
        return next((key for key, job in waiting if job.group not in full), None)

    def _finish(self, key: Hashable) -> None:
        with self._changed:
            del self._running[key]
            if key in self._again:
                self._enqueue(key, self._again.pop(key))  # this thread is free for it
            if self._closing:
                self._changed.notify_all()

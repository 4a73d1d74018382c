"""Debouncing: events go in from any thread, and come out once their files are complete.

A closed or moved-in file is complete after its root's quiet time without another event. A file that stays open (written
through a map, or by a sender that pauses) is complete once its size and mtime stayed the same for the quiet time; after
a write for longer (see ``writers``). A MOVED_FROM without its MOVED_TO is reported as a deletion after a delay, since a
scan may find the file elsewhere. Deletes, moves and tree events are not debounced.

    put CLOSED a ---- quiet ----> a          put OPEN b ---- quiet, stat ---- quiet, same stat ----> b
    put WRITING c ---- as long as its pauses demand, stat ---- quiet, same stat ----> c

Memory is bounded: with too many delayed paths, one TREE event replaces those of a directory. Nothing is lost, since the
scan of the directory finds the files again.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from os.path import dirname, join

from shazimd.posix.open_files import open_for_writing
from shazimd.posix.reach import within_reach
from shazimd.types import Stat
from shazimd.watch.events import FileEvent, Kind, Stage
from shazimd.watch.writers import Writers

PENDING_MAX = 50_000
"""Maximum number of delayed and ready events: about 20 MB."""
AWAY_S = 1.0
"""Extra delay of AWAY, for scanning the new directory of a move; the file found there then has its own quiet time."""
BUSY_MAX_S = 10.0
"""Maximum delay of a file that is written and closed again and again."""


@dataclass(slots=True)
class _Delayed:
    due: float
    queued: float
    """due time of its entry in the queue, at or before ``due``"""
    stage: Stage
    closed_at: float | None = None
    """time of the first CLOSED event"""
    seen: Stat | None = None
    """stat at the previous due time"""


def stat_of(path: bytes) -> Stat | None:
    """The version of a file; None if stat fails: the ingest then finds the reason."""
    try:
        with within_reach(path) as near:
            return Stat.of(os.stat(near, follow_symlinks=False))
    except OSError:
        return None


class Debouncer:
    """``put`` from any thread, ``take`` from one."""

    def __init__(
        self,
        quiet_s: Mapping[bytes, float],
        *,
        pending_max: int = PENDING_MAX,
        clock: Callable[[], float] = time.monotonic,
        stat: Callable[[bytes], Stat | None] = stat_of,
        open_for_writing: Callable[[Collection[bytes]], set[bytes]] = open_for_writing,
    ) -> None:
        """``quiet_s``: each root's quiet time in seconds."""
        self._quiet_s = sorted(((join(root, b""), quiet) for root, quiet in quiet_s.items()), reverse=True)
        """in reverse order: a root inside another root comes first"""
        self._roots = list(quiet_s)
        self._pending_max = pending_max
        self._clock = clock
        self._stat = stat
        self._open_for_writing = open_for_writing
        self._writers = Writers()
        self._wake = threading.Condition()
        self._delayed: dict[bytes, _Delayed] = {}
        self._queue: list[tuple[float, bytes]] = []
        """heap of (queued, path) of each delayed path"""
        self._ready: dict[object, FileEvent] = {}
        """in the order of ``take``"""
        self._number = 0
        self._taken = 0
        """events of the last ``take``; pending until the next call"""
        self.puts = 0
        """number of calls of ``put``"""
        self._woken = False
        self._closed = False

    def __len__(self) -> int:
        """Number of delayed and ready events."""
        return len(self._delayed) + len(self._ready)

    def pending(self) -> int:
        """Number of delayed, ready and last taken events. The next ``take`` marks the last ones as done."""
        with self._wake:
            return len(self) + self._taken

    def put(self, event: FileEvent, *, after_s: float = 0) -> None:
        """Add an event, for a file with a minimum delay. Never blocks for long, never touches the disk."""
        with self._wake:
            self.puts += 1
            if event.kind is Kind.FILE and event.stage is not Stage.GONE:
                self._delay(event.path, event.stage, after_s)
            else:
                self._make_ready(event)
            if len(self) > self._pending_max:
                self._collapse()
            self._wake.notify()

    def take(self, timeout: float | None = None) -> list[FileEvent]:
        """Events whose delay is over, oldest first; blocks until there are some, at most ``timeout`` seconds.

        Empty on timeout, after ``wake``, or once closed. A file may change again at any time after its event."""
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            with self._wake:
                self._taken = 0
                if not self._sleep(deadline):
                    return []
                ready = list(self._ready.values())
                self._ready.clear()
                due = self._pop_due(self._clock())
                self._taken = len(ready) + len(due)
            # outside the lock: stat may be slow, and ``put`` must not wait for it
            written = self._open_for_writing([path for path, delayed in due if delayed.stage is Stage.WRITING])
            ready += [
                _file_event(path, delayed) for path, delayed in due if self._is_complete(path, delayed, path in written)
            ]
            if ready:
                return ready

    def wake(self) -> None:
        """Make a waiting ``take`` return."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def holds(self, path: bytes) -> bool:
        """Whether a file is delayed, and will be given."""
        return path in self._delayed

    def close(self) -> None:
        """Make all present and future calls of ``take`` return."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _sleep(self, deadline: float | None) -> bool:
        """Wait until an event is ready or due; False on timeout, when woken, or once closed."""
        while not self._closed and not self._woken:
            now = self._clock()
            if self._ready or (self._queue and self._queue[0][0] <= now):
                return True
            if deadline is not None and now >= deadline:
                return False
            ends = [end for end in (deadline, self._queue[0][0] if self._queue else None) if end is not None]
            self._wake.wait(min(ends) - now if ends else None)
        self._woken = False
        return False

    def _make_ready(self, event: FileEvent) -> None:
        """Moves keep their order and number; other events are reported once, at the place of the last one."""
        if event.kind is Kind.FILE:
            self._writers.closed(event.path)
            self._delayed.pop(event.path, None)
        self._number += 1
        key: object = self._number if event.kind is Kind.MOVED else event
        self._ready.pop(key, None)
        self._ready[key] = event

    def _delay(self, path: bytes, stage: Stage, after_s: float) -> None:
        now, quiet = self._clock(), max(self._quiet(path), after_s)
        delayed = self._delayed.get(path)
        if delayed is None:
            due = now + quiet
            delayed = self._delayed[path] = _Delayed(due, due, stage)
            self._enqueue(path, delayed)
        if not (stage is Stage.OPEN and delayed.stage is Stage.WRITING):  # a chmod tells nothing about the writer
            delayed.stage = stage
        delayed.seen = None
        if stage is Stage.CLOSED and delayed.closed_at is None:
            delayed.closed_at = now
        delayed.due = self._due(path, delayed, now, quiet)
        if delayed.due < delayed.queued:
            self._enqueue(path, delayed)

    def _due(self, path: bytes, delayed: _Delayed, now: float, quiet: float) -> float:
        if delayed.stage is Stage.WRITING:
            self._writers.wrote(path, now)
            return self._writers.still_at(path, quiet)
        if delayed.stage is Stage.AWAY:
            return now + 2 * quiet + AWAY_S
        if delayed.stage is Stage.CLOSED:
            self._writers.closed(path)
        latest = inf if delayed.closed_at is None else delayed.closed_at + BUSY_MAX_S
        return min(now + quiet, latest)

    def _quiet(self, path: bytes) -> float:
        return next((quiet for root, quiet in self._quiet_s if path.startswith(root)), 0.0)

    def _pop_due(self, now: float) -> list[tuple[bytes, _Delayed]]:
        due = []
        while self._queue and self._queue[0][0] <= now:
            at, path = heapq.heappop(self._queue)
            delayed = self._delayed.get(path)
            if delayed is None or delayed.queued != at:
                continue  # the file was deleted meanwhile
            if delayed.due > now:
                self._enqueue(path, delayed)
            else:
                due.append((path, self._delayed.pop(path)))
        return due

    def _is_complete(self, path: bytes, delayed: _Delayed, is_open: bool) -> bool:
        """Whether a due file may be reported; otherwise it is delayed again."""
        is_writing = delayed.stage is Stage.WRITING
        if delayed.stage in (Stage.CLOSED, Stage.AWAY) or (self._is_busy(delayed) and not is_writing):
            return True
        quiet = self._quiet(path)
        now_seen = self._stat(path)
        with self._wake:
            due = self._writers.still_at(path, quiet, is_open=is_open) if is_writing else 0.0
            is_still = due <= self._clock()
            if now_seen is None or (is_still and now_seen == delayed.seen):
                return True
            if path not in self._delayed:
                delayed.seen = now_seen
                delayed.due = max(due, self._clock() + quiet)
                self._delayed[path] = delayed
                self._enqueue(path, delayed)
        return False

    def _enqueue(self, path: bytes, delayed: _Delayed) -> None:
        delayed.queued = delayed.due
        heapq.heappush(self._queue, (delayed.due, path))

    def _is_busy(self, delayed: _Delayed) -> bool:
        return delayed.closed_at is not None and self._clock() >= delayed.closed_at + BUSY_MAX_S

    def _collapse(self) -> None:
        """Replace delayed files by TREE events for the fullest directories, until half of the places are free."""
        excess = len(self) - self._pending_max // 2
        collapsed = set()
        for directory, number in Counter(map(dirname, self._delayed)).most_common():
            if excess > 0:
                collapsed.add(directory)
                excess -= number - 1  # the TREE event takes a place
        if excess > 0 or len(self._ready) > self._pending_max // 2:
            self._ready.clear()
            self._replace({}, self._roots)
        else:
            self._replace({p: d for p, d in self._delayed.items() if dirname(p) not in collapsed}, collapsed)

    def _replace(self, delayed: dict[bytes, _Delayed], trees: Iterable[bytes]) -> None:
        self._delayed = delayed
        self._queue = [(each.queued, path) for path, each in delayed.items()]
        heapq.heapify(self._queue)
        for tree in trees:
            self._make_ready(FileEvent(Kind.TREE, tree))


def _file_event(path: bytes, delayed: _Delayed) -> FileEvent:
    return FileEvent(Kind.FILE, path, stage=Stage.GONE if delayed.stage is Stage.AWAY else Stage.CLOSED)

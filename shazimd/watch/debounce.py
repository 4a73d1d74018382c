"""Settling: hints go in from any thread, what has come to rest comes out.

A file is at rest when it was closed (or moved in) and nothing more was heard of it for its root's quiet time. One that
nobody closed - written through a map, or by a sender that pauses - is at rest when its size and mtime stayed the same
for that long. One that was moved away is given as gone once there was time to find it elsewhere. What is deleted,
moved, or a whole tree needs no rest.

    put CLOSED a ---- quiet ----> a          put OPEN b ---- quiet, stat ---- quiet, same stat ----> b

Memory is bounded: with too many paths waiting, those of a directory give way to one TREE hint for it. Nothing is lost,
for comparing that directory with the store finds them again.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import dirname, join

from shazimd.types import Stat
from shazimd.watch.events import FileEvent, Kind, Stage

PENDING_MAX = 50_000
"""Paths that wait at most: about 20 MB."""
AWAY_S = 1.0
"""How long it may take to find what was moved, beyond the time that it then settles."""
BUSY_MAX_S = 10.0
"""A file that is written and closed again and again is given after this long though it never rests."""


@dataclass(slots=True)
class _Waiting:
    due: float
    queued: float
    """its place in the queue, at or before ``due``"""
    stage: Stage
    closed_at: float | None = None
    """when it was first closed since it began to wait"""
    seen: Stat | None = None
    """what stat said when it was last due"""


def stat_of(path: bytes) -> Stat | None:
    """What tells that a file is unchanged; None when it can't be known, whatever the reason."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None  # gone or out of reach: who looks at it next says which
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino)


class Debouncer:
    """``put`` from any thread, ``take`` from one."""

    def __init__(
        self,
        quiet_s: Mapping[bytes, float],
        *,
        pending_max: int = PENDING_MAX,
        clock: Callable[[], float] = time.monotonic,
        stat: Callable[[bytes], Stat | None] = stat_of,
    ) -> None:
        """``quiet_s``: each root's quiet time in seconds."""
        self._quiet_s = sorted(((join(root, b""), quiet) for root, quiet in quiet_s.items()), reverse=True)
        """the root within another root comes first"""
        self._roots = list(quiet_s)
        self._pending_max = pending_max
        self._clock = clock
        self._stat = stat
        self._wake = threading.Condition()
        self._waiting: dict[bytes, _Waiting] = {}
        self._queue: list[tuple[float, bytes]] = []
        """a heap with one entry for each waiting path, due then or later"""
        self._ready: dict[object, FileEvent] = {}
        """in the order in which they are given"""
        self._number = 0
        self._in_hand = 0
        """what was given last; it counts as pending until more is asked for"""
        self._closed = False

    def __len__(self) -> int:
        """Paths that wait or are ready."""
        return len(self._waiting) + len(self._ready)

    def pending(self) -> int:
        """Paths that wait, are ready, or were given last: who takes is done with them when he asks for more."""
        with self._wake:
            return len(self) + self._in_hand

    def put(self, hint: FileEvent) -> None:
        """Take note of a hint. Never blocks for long, never touches the disk."""
        with self._wake:
            if hint.kind is Kind.FILE and hint.stage is not Stage.GONE:
                self._wait_for(hint.path, hint.stage)
            else:
                self._give(hint)
            if len(self) > self._pending_max:
                self._collapse()
            self._wake.notify()

    def take(self, timeout: float | None = None) -> list[FileEvent]:
        """What has come to rest, oldest first; blocks until there is something, at most ``timeout`` seconds.

        Empty when the time is up, or once closed. A path that is given is forgotten here; FILE hints mean *look*,
        since a path may change at any time."""
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            with self._wake:
                self._in_hand = 0
                if not self._sleep(deadline):
                    return []
                ready = list(self._ready.values())
                self._ready.clear()
                due = self._pop_due(self._clock())
                self._in_hand = len(ready) + len(due)
            # stat may be slow: those who put must not wait for it
            ready += [_given(path, waiting) for path, waiting in due if self._rests(path, waiting)]
            if ready:
                return ready

    def close(self) -> None:
        """Let ``take`` return, now and always."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _sleep(self, deadline: float | None) -> bool:
        """Wait until something is due; False when the time is up or this is closed."""
        while not self._closed:
            now = self._clock()
            if self._ready or (self._queue and self._queue[0][0] <= now):
                return True
            if deadline is not None and now >= deadline:
                return False
            ends = [end for end in (deadline, self._queue[0][0] if self._queue else None) if end is not None]
            self._wake.wait(min(ends) - now if ends else None)
        return False

    def _give(self, hint: FileEvent) -> None:
        """Moves keep their order and number; anything else is given once, at the place of its last mention."""
        if hint.kind is Kind.FILE:
            self._waiting.pop(hint.path, None)
        self._number += 1
        key: object = self._number if hint.kind is Kind.MOVED else hint
        self._ready.pop(key, None)
        self._ready[key] = hint

    def _wait_for(self, path: bytes, stage: Stage) -> None:
        now, quiet = self._clock(), self._quiet(path)
        waiting = self._waiting.get(path)
        if waiting is None:
            due = now + quiet
            waiting = self._waiting[path] = _Waiting(due, due, stage)
            self._enqueue(path, waiting)
        waiting.stage = stage
        waiting.seen = None
        if stage is Stage.CLOSED and waiting.closed_at is None:
            waiting.closed_at = now
        waiting.due = now + (2 * quiet + AWAY_S if stage is Stage.AWAY else quiet)
        if waiting.closed_at is not None:
            waiting.due = min(waiting.due, waiting.closed_at + BUSY_MAX_S)

    def _quiet(self, path: bytes) -> float:
        return next((quiet for root, quiet in self._quiet_s if path.startswith(root)), 0.0)

    def _pop_due(self, now: float) -> list[tuple[bytes, _Waiting]]:
        due = []
        while self._queue and self._queue[0][0] <= now:
            at, path = heapq.heappop(self._queue)
            waiting = self._waiting.get(path)
            if waiting is None or waiting.queued != at:
                continue  # it was gone since then
            if waiting.due > now:
                self._enqueue(path, waiting)
            else:
                due.append((path, self._waiting.pop(path)))
        return due

    def _rests(self, path: bytes, waiting: _Waiting) -> bool:
        """Whether a path that is due may be given; else it waits again."""
        if waiting.stage in (Stage.CLOSED, Stage.AWAY) or self._is_busy(waiting):
            return True
        now_seen = self._stat(path)
        if now_seen is None or now_seen == waiting.seen:
            return True
        with self._wake:
            if path not in self._waiting:
                waiting.seen = now_seen
                waiting.due = self._clock() + self._quiet(path)
                self._waiting[path] = waiting
                self._enqueue(path, waiting)
        return False

    def _enqueue(self, path: bytes, waiting: _Waiting) -> None:
        waiting.queued = waiting.due
        heapq.heappush(self._queue, (waiting.due, path))

    def _is_busy(self, waiting: _Waiting) -> bool:
        return waiting.closed_at is not None and self._clock() >= waiting.closed_at + BUSY_MAX_S

    def _collapse(self) -> None:
        """Trees instead of paths, fullest directories first, until half of the room is free."""
        if len(self._ready) > self._pending_max // 2:
            return self._collapse_all()
        full = Counter(map(dirname, self._waiting)).most_common()
        given_way = set()
        excess = len(self) - self._pending_max // 2
        for directory, number in full:
            if excess <= 0:
                break
            given_way.add(directory)
            excess -= number - 1  # its TREE hint takes a place
        if excess > 0:
            return self._collapse_all()
        self._waiting = {p: w for p, w in self._waiting.items() if dirname(p) not in given_way}
        self._rebuild([FileEvent(Kind.TREE, directory) for directory in given_way])
        return None

    def _collapse_all(self) -> None:
        self._waiting.clear()
        self._ready.clear()
        self._rebuild([FileEvent(Kind.TREE, root) for root in self._roots])

    def _rebuild(self, trees: list[FileEvent]) -> None:
        self._queue = [(waiting.queued, path) for path, waiting in self._waiting.items()]
        heapq.heapify(self._queue)
        for tree in trees:
            self._give(tree)


def _given(path: bytes, waiting: _Waiting) -> FileEvent:
    return FileEvent(Kind.FILE, path, stage=Stage.GONE if waiting.stage is Stage.AWAY else Stage.CLOSED)

"""Watching a root: by inotify if its file system has events, otherwise by polling.

A watcher is one thread that mostly sleeps. At the start, after lost events, after a mount, when the root is back, and
at an interval, the thread sets the watches and reports a TREE event for the root. All failures have this one remedy.
Each root has its own thread: a hanging network mount blocks no other root.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from typing import Literal

import structlog

from shazimd.config import WatchConfig
from shazimd.errors import WatchError
from shazimd.posix import POLL_MAX_S
from shazimd.posix.mounts import Mount, Mounts, point_around
from shazimd.protocol.status import WatchStatus
from shazimd.text import readable
from shazimd.watch.events import FileEvent, Kind, OnFileEvent
from shazimd.watch.filters import Filter
from shazimd.watch.tree import RootWatches, Watches

log = structlog.get_logger()

RETRY_S = 5.0
"""Interval of looking for a missing root; a mount is noticed at once."""
RETRY_FIRST_S = 0.05
"""The first retry, and doubled until RETRY_S: a link to the root may be removed and made anew."""


class Watcher:
    """Watches one root and reports its events."""

    def __init__(
        self,
        config: WatchConfig,
        rules: Filter,
        report: OnFileEvent,
        watches: Watches,
        *,
        reconcile_interval_s: float = 3600,
    ) -> None:
        """``watches`` is shared by all roots: one inotify instance, which sees renames between them.

        ``reconcile_interval_s``: interval of a TREE event for a root with inotify."""
        self._config = config
        self._rules = rules
        self._report = report
        self._interval_s = reconcile_interval_s
        self._watched = RootWatches(watches, rules, report, self._on_loss)
        self._watches = watches
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._due = True
        """set all watches and report the whole root in the next turn"""
        self._walking = False
        self._next_full = 0.0
        self._mode: Literal["inotify", "poll"] = "poll" if config.mode == "poll" else "inotify"
        self._state: Literal["starting", "watching", "unavailable", "failed", "stopped"] = "stopped"
        self._overflows = 0
        self._retry_s = RETRY_FIRST_S
        self._mount_point = b"/"
        """the deepest mount point of the root so far"""
        self._mounted: tuple[Mount, ...] = ()
        """at and below the root at the last walk"""

    def start(self) -> None:
        """Start the thread, which waits for a missing root. Raises WatchError without a mount table."""
        mounts = Mounts()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopping, self._due, self._state = False, True, "starting"
        self._thread = threading.Thread(target=self._run, args=(mounts,), name="watcher", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop watching; stopping twice is fine. A thread hanging in a dead mount is left behind."""
        if self._thread is None:
            return
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout_s)
        thread, self._thread = self._thread, None
        if not thread.is_alive():
            os.close(self._wake)
        self._state = "stopped"

    def refresh(self) -> None:
        """Set the watches again and report the whole root, unless stopped."""
        self._due = True
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)

    def is_unmounted(self) -> bool:
        """Whether the root's disk of before is not mounted. For a root whose file system answers."""
        return len(point_around(os.path.realpath(self._rules.root))) < len(self._mount_point)

    def accept_mount(self) -> None:
        """Take the present directory for the root, if the disk of before is not mounted."""
        if self._state == "unavailable":
            self._mount_point = b"/"
            self.refresh()

    def alive(self) -> bool:
        """Whether all threads run. A dead reading thread is started again without a call."""
        if self._thread is None or not self._thread.is_alive():
            return False
        return self._state != "watching" or self._mode == "poll" or self._watches.alive()

    def is_behind(self) -> bool:
        """Whether there are changes in the root still to be reported: False for an unavailable root, True for a failed
        one."""
        if self._thread is None or self._state not in ("starting", "watching"):
            return self._state == "failed"
        return self._watches.is_behind() or self._due or self._walking  # in this order: lost events make a walk due

    def stalling(self, path: bytes) -> bytes | None:
        """The directory around a path of the root whose file system may hang: a network mount, or any without events,
        and the root until its mounts are known."""
        if self._state != "watching" or self._mode == "poll":
            return self._rules.root
        return self._watched.stalling(path)

    def status(self) -> WatchStatus:
        """The state of the watch, as ``GET /v1/status`` reports it."""
        return {
            "mode": self._mode,
            "state": self._state,
            "watched_dirs": self._watched.count,
            "unwatched_dirs": len(self._watched.unwatched),
            "unreadable_dirs": len(self._watched.denied),
            "overflows": self._overflows,
        }

    def _on_loss(self, reason: str) -> None:
        if reason == "overflow":
            self._overflows += 1
        elif reason == "link":
            self._mount_point = b"/"  # the root may lie on another disk now
        log.warning("events_lost", root=self._rules.root, reason=reason)
        self.refresh()

    def _run(self, mounts: Mounts) -> None:
        try:
            while not self._stopping:
                self._sleep(self._guarded_turn(mounts), mounts)
        except Exception:
            self._state = "failed"
            log.exception("watcher_died", root=self._rules.root, remedy="shazimctl reload watches it again")
        finally:
            self._watched.clear()
            self._watches.leave(self._watched)
            mounts.close()

    def _guarded_turn(self, mounts: Mounts) -> float:
        try:
            return self._turn(mounts)
        except Exception:
            log.exception("watcher_failed", root=self._rules.root, retry_s=RETRY_S)
            self._state = "failed"
            self._due = True
            return RETRY_S

    def _turn(self, mounts: Mounts) -> float:
        """Do all due work; returns the seconds until the next."""
        now = time.monotonic()
        if self._due or now >= self._next_full:
            self._walking = True
            self._due = False  # before the walk: a loss during the walk sets it again
            try:
                return self._watch_all(mounts, now)
            finally:
                self._walking = False
        if self._watched.unwatched:
            self._watched.poll_unwatched()
        return self._pause(now)

    def _watch_all(self, mounts: Mounts, now: float) -> float:
        try:
            self._set_watches(mounts)
        except OSError as error:
            return self._unavailable(error)
        before, self._state = self._state, "watching"  # first: who reads the line finds the root behind
        if before != "watching":
            log.info("root_watched", root=self._rules.root, mode=self._mode, watched_dirs=self._watched.count)
        self._retry_s = RETRY_FIRST_S
        self._report(FileEvent(Kind.TREE, self._rules.root))
        self._next_full = now + (self._config.poll_interval_s if self._mode == "poll" else self._interval_s)
        return self._pause(now)

    def _set_watches(self, mounts: Mounts) -> None:
        """Raises OSError if the root is missing or unreadable."""
        root = self._rules.root
        self._mounted = self._mounts_of_root(mounts)
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._expect_mounted(self._mounted[0])
        self._mode = self._choose(self._mounted[0])
        if self._mode == "poll":
            self._watched.clear()
            return
        try:
            self._watched.sync(mounts.table())
        except WatchError as error:
            log.warning("root_polled", root=root, reason=str(error))
            self._mode = "poll"

    def _expect_mounted(self, mount: Mount) -> None:
        """Raises OSError if a disk is unmounted: the directory below the mount point is not the root."""
        if len(mount.point) < len(self._mount_point):
            raise OSError(errno.ENODEV, f"not mounted: {readable(self._mount_point)}")
        self._mount_point = mount.point

    def _choose(self, mount: Mount) -> Literal["inotify", "poll"]:
        if self._config.mode != "auto":
            return self._config.mode
        return "inotify" if mount.gives_events else "poll"

    def _unavailable(self, error: OSError) -> float:
        self._watched.clear()
        if self._state != "unavailable":
            log.warning("root_unavailable", root=self._rules.root, reason=error.strerror, retry_s=RETRY_S)
        self._state = "unavailable"
        self._due = True
        pause, self._retry_s = self._retry_s, min(2 * self._retry_s, RETRY_S)
        return pause

    def _pause(self, now: float) -> float:
        pause = self._next_full - now
        return min(pause, self._config.poll_interval_s) if self._watched.unwatched else pause

    def _sleep(self, seconds: float, mounts: Mounts) -> None:
        """Sleep until timeout, ``refresh``, ``stop``, or a change of the mounts at or below the root."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(mounts.fileno(), select.POLLPRI)
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            if self._mounts_of_root(mounts) != self._mounted:
                self._due = True
                return
            ready = [fd for fd, _ in poller.poll(min(left, POLL_MAX_S) * 1000 + 1)]
            if mounts.fileno() in ready:  # first: the kernel tells of it once, and an unmounted root wakes as well
                mounts.expire()
            if self._wake in ready:
                os.eventfd_read(self._wake)
                return

    def _mounts_of_root(self, mounts: Mounts) -> tuple[Mount, ...]:
        return mounts.below(os.path.realpath(self._rules.root))

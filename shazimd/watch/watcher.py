"""A root is watched: by inotify where the kernel tells, by looking now and then where it does not.

A watcher is one thread that mostly sleeps. It sets the watches and says TREE for the whole root - at the start, after
events were lost, when a disk is mounted or comes back, and at a period - and between these the events speak. So all
that can go wrong has one remedy. Each root has its own thread: a network mount that hangs holds up nobody else.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from typing import Any

import structlog

from shazimd.config import WatchConfig
from shazimd.errors import WatchError
from shazimd.posix.mounts import Mount, Mounts
from shazimd.watch.events import FileEvent, Kind, OnEvent
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Tree, Watches

log = structlog.get_logger()

RETRY_S = 5.0
"""How often a root that is not there is looked for; a mount is noticed at once."""


class Watcher:
    """Watches one root and says where to look."""

    def __init__(
        self,
        config: WatchConfig,
        rules: Filter,
        on_event: OnEvent,
        watches: Watches,
        *,
        reconcile_interval_s: float = 3600,
    ) -> None:
        """``watches`` is shared by all roots: renames between them are seen, and one inotify instance is used.

        ``reconcile_interval_s``: how often the whole root is told as a TREE though the kernel reports events."""
        self._config = config
        self._rules = rules
        self._on_event = on_event
        self._interval_s = reconcile_interval_s
        self._tree = Tree(watches, rules, on_event, self._on_loss)
        self._watches = watches
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._due = True
        """the whole root is to be watched and told anew"""
        self._walking = False
        self._next_full = 0.0
        self._mode = "poll" if config.mode == "poll" else "inotify"
        self._state = "stopped"
        self._overflows = 0
        self._mount_point = b"/"
        """the deepest that the root was seen on"""
        self._mounted: tuple[Mount, ...] = ()
        """at and below the root when it was last walked"""

    def start(self) -> None:
        """Begin to watch, on a thread; returns at once. A root that is not there is waited for.

        Raises WatchError when there is no mount table."""
        mounts = Mounts()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopping, self._due, self._state = False, True, "starting"
        self._thread = threading.Thread(target=self._run, args=(mounts,), name="watcher", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop watching; stopping twice is fine. A thread that hangs in a dead mount is left behind."""
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
        """Set the watches anew and tell the whole root; nothing when stopped."""
        self._due = True
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)

    def alive(self) -> bool:
        """Whether everything that should run runs; a reader that died is started again by itself."""
        if self._thread is None or not self._thread.is_alive():
            return False
        return self._state != "watching" or self._mode == "poll" or self._watches.alive()

    def is_behind(self) -> bool:
        """Whether something has happened in the root that will be told, and was not told yet. A root that can't be
        watched at present is not waited for."""
        if self._thread is None or self._state not in ("starting", "watching"):
            return False
        return self._due or self._walking or self._watches.is_behind()

    def status(self) -> dict[str, Any]:
        """path, mode (inotify or poll), state (starting, watching, unavailable, failed, stopped), watched_dirs,
        unwatched_dirs (polled with all below them), unreadable_dirs, overflows."""
        return {
            "path": os.fsdecode(self._rules.root),
            "mode": self._mode,
            "state": self._state,
            "watched_dirs": self._tree.watched,
            "unwatched_dirs": len(self._tree.unwatched),
            "unreadable_dirs": len(self._tree.denied),
            "overflows": self._overflows,
        }

    def _on_loss(self, reason: str) -> None:
        if reason == "overflow":
            self._overflows += 1
        log.warning("events_lost", root=self._rules.root, reason=reason)
        self.refresh()

    def _run(self, mounts: Mounts) -> None:
        try:
            while not self._stopping:
                self._sleep(self._guarded_turn(mounts), mounts)
        finally:
            self._tree.clear()
            self._watches.leave(self._tree)
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
        """Do what is due; the seconds until something is."""
        now = time.monotonic()
        if self._due or now >= self._next_full:
            self._walking = True
            self._due = False  # first: what is lost while we walk is due again
            try:
                return self._watch_all(mounts, now)
            finally:
                self._walking = False
        if self._tree.unwatched:
            self._tree.poll_unwatched()
        return self._pause(now)

    def _watch_all(self, mounts: Mounts, now: float) -> float:
        try:
            self._set_watches(mounts)
        except OSError as error:
            return self._unavailable(error)
        if self._state != "watching":
            log.info("root_watched", root=self._rules.root, mode=self._mode, watched_dirs=self._tree.watched)
        self._state = "watching"
        self._on_event(FileEvent(Kind.TREE, self._rules.root))
        self._next_full = now + (self._config.poll_interval_s if self._mode == "poll" else self._interval_s)
        return self._pause(now)

    def _set_watches(self, mounts: Mounts) -> None:
        """Raises OSError when the root is not there or may not be read."""
        root = self._rules.root
        self._mounted = self._mounts_of_root(mounts)
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._expect_mounted(self._mounted[0])
        self._mode = self._choose(self._mounted[0])
        if self._mode == "poll":
            self._tree.clear()
            return
        try:
            self._tree.sync(mounts.table())
        except WatchError as error:
            log.warning("root_polled", root=root, reason=str(error))
            self._mode = "poll"

    def _expect_mounted(self, mount: Mount) -> None:
        """What shows through where a disk was mounted is not the root. Raises OSError."""
        if len(mount.point) < len(self._mount_point):
            raise OSError(errno.ENODEV, f"not mounted: {os.fsdecode(self._mount_point)}")
        self._mount_point = mount.point

    def _choose(self, mount: Mount) -> str:
        if self._config.mode != "auto":
            return self._config.mode
        return "inotify" if mount.gives_events else "poll"

    def _unavailable(self, error: OSError) -> float:
        self._tree.clear()
        if self._state != "unavailable":
            log.warning("root_unavailable", root=self._rules.root, reason=error.strerror, retry_s=RETRY_S)
        self._state = "unavailable"
        self._due = True
        return RETRY_S

    def _pause(self, now: float) -> float:
        pause = self._next_full - now
        return min(pause, self._config.poll_interval_s) if self._tree.unwatched else pause

    def _sleep(self, seconds: float, mounts: Mounts) -> None:
        """Until the time is up, somebody wakes us, or what is mounted at or below the root changes."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(mounts.fileno(), select.POLLPRI)
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            if self._mounts_of_root(mounts) != self._mounted:
                self._due = True
                return
            ready = [fd for fd, _ in poller.poll(left * 1000 + 1)]
            if self._wake in ready:
                os.eventfd_read(self._wake)
                return
            if ready:
                mounts.expire()

    def _mounts_of_root(self, mounts: Mounts) -> tuple[Mount, ...]:
        return mounts.below(os.path.realpath(self._rules.root))

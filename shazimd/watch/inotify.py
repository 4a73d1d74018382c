"""One inotify instance for all roots: directory watches, a reading thread, and pairing of renames.

This reads the kernel's queue over watchdog's bindings (``watchdog.observers.inotify_c``), since watchdog 7.1's own
reader lacks four features: adding an existing watch again (a walk after lost events finds replaced directories this
way), reporting unreadable directories, reporting the death of the reading thread, and reporting overflows.

inotify(7) documents the events. MOVED_FROM and MOVED_TO of a rename share a cookie and mostly follow each other. They
are paired here, across roots too; a single half is an arrival or a departure.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import termios
import threading
import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import structlog
from watchdog.observers.inotify_c import (
    InotifyConstants,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_init,
    inotify_rm_watch,
)

from shazimd.errors import WatchError
from shazimd.posix.reach import within_reach

log = structlog.get_logger()

IN = InotifyConstants
MASK = (
    *(IN.IN_CREATE, IN.IN_MODIFY, IN.IN_ATTRIB, IN.IN_CLOSE_WRITE, IN.IN_DELETE, IN.IN_MOVED_FROM, IN.IN_MOVED_TO),
    *(IN.IN_DELETE_SELF, IN.IN_MOVE_SELF, IN.IN_ONLYDIR, IN.IN_EXCL_UNLINK),
)
"""Reading a file causes none of these, so our own work makes no events. MODIFY is for truncate(2), without a close."""
LOST = IN.IN_DELETE_SELF | IN.IN_MOVE_SELF | IN.IN_UNMOUNT
"""A watched directory itself was deleted, moved or unmounted."""

_HEADER = struct.Struct("iIII")
_BATCH_S = 0.005
"""Pause after each read: the kernel merges events meanwhile, and both halves of a rename arrive together."""
_UNPAIRED_S = 0.1
"""Wait for the MOVED_TO of a MOVED_FROM. inotify(7) says "a few" ms; on a busy machine the renaming thread may lose its
processor between the two."""


class InotifyEvent(NamedTuple):
    """An event in a watched directory, as the kernel reports it; ``wd`` is the result of ``Inotify.watch``."""

    wd: int
    mask: int
    cookie: int
    name: bytes

    @property
    def is_directory(self) -> bool:
        return bool(self.mask & IN.IN_ISDIR)


class _Half(NamedTuple):
    event: InotifyEvent
    until: float


class Listener(Protocol):
    """Handles the kernel's events on the reading thread."""

    def handle_event(self, event: InotifyEvent) -> None: ...

    def handle_move(self, source: InotifyEvent, target: InotifyEvent) -> None: ...

    def handle_loss(self, reason: str) -> None:
        """Events were lost ("overflow"), or all watches ("died")."""


class Inotify:
    """The inotify instance and its reading thread. ``watch`` and ``unwatch`` may be called from any thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._stop = -1
        self._died = False
        self._dispatching = False
        """the listener is handling events"""
        self._held: dict[int, _Half] = {}
        """MOVED_FROM events without a MOVED_TO yet, by cookie"""
        self._left: dict[tuple[int, bytes], int] = {}
        """cookies of the held events, by directory and name"""

    def start(self) -> None:
        """Start without watches. Raises WatchError if the user's inotify instances are used up."""
        self.stop()
        self._fd = inotify_init()
        if self._fd == -1:
            reason = os.strerror(ctypes.get_errno())
            raise WatchError(f"no inotify instance: {reason}; see fs.inotify.max_user_instances (128 by default)")
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)
        self._stop = os.eventfd(0)
        self._forget_halves()
        self._died = False
        self._thread = threading.Thread(target=self._run, name="inotify", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Drop all watches and end the thread; stopping twice is fine."""
        if self._thread is None:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._thread = None
        os.close(self._fd)
        os.close(self._stop)
        self._fd = self._stop = -1

    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._died

    def is_behind(self) -> bool:
        """Whether there are events to read or to handle. If not, all events before this call were handled."""
        if not self.alive():
            return self._dispatching  # of a reading thread that died, until its loss is handled
        unread = array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, unread)
        except (OSError, ValueError):
            return False  # stopped meanwhile
        # in the order of the flow: half of a rename is handled, held, and handled again
        return bool(unread[0] or self._dispatching or self._held or self._dispatching)

    def watch(self, path: bytes, follow_symlinks: bool = False) -> int:
        """Watch a directory and return its descriptor, which stays the same for a watched directory.

        Raises OSError: ENOSPC if the user's watches are used up, EACCES, ENOENT, ENOTDIR."""
        return self._add(path, sum(MASK) | (0 if follow_symlinks else IN.IN_DONT_FOLLOW))

    def watch_link(self, path: bytes) -> int:
        """Watch a symbolic link itself, for its removal and replacement, and return its descriptor. Raises OSError."""
        return self._add(path, IN.IN_ATTRIB | IN.IN_DELETE_SELF | IN.IN_MOVE_SELF | IN.IN_DONT_FOLLOW)

    def unwatch(self, wd: int) -> None:
        """Stop watching; an unknown watch is ignored."""
        inotify_rm_watch(self._fd, WatchDescriptor(wd))

    def _add(self, path: bytes, mask: int) -> int:
        with within_reach(path) as near:
            wd = inotify_add_watch(self._fd, near, Mask(mask))
        if wd == -1:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
        return wd

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        except Exception:
            self._died = True
            log.exception("inotify_reader_died")
            self._listener.handle_loss("died")
            self._dispatching = False

    def _read_until_stopped(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        stopped = select.poll()
        stopped.register(self._stop, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll(_UNPAIRED_S * 1000 if self._held else None)]
            if self._stop in ready:
                return
            now = time.monotonic()  # before the read, which may bring their other halves
            unpaired = [cookie for cookie, half in self._held.items() if half.until <= now]
            self._dispatching = True
            for event in parse(os.read(self._fd, 256 * 1024) if ready else b""):
                self._dispatch(event)
            for cookie in unpaired:
                if cookie in self._held:
                    self._listener.handle_event(self._release(cookie))
            self._dispatching = False
            if ready:
                stopped.poll(_BATCH_S * 1000)

    def _dispatch(self, event: InotifyEvent) -> None:
        if event.mask & IN.IN_Q_OVERFLOW:
            self._forget_halves()
            self._listener.handle_loss("overflow")
            return
        source = self._release(event.cookie) if event.mask & IN.IN_MOVED_TO and event.cookie in self._held else None
        if (before := self._left.get((event.wd, event.name))) is not None:
            # A successor has the name. A rename's other half would have come before: the kernel locks the directories.
            self._listener.handle_event(self._release(before))
        if source is not None:
            self._listener.handle_move(source, event)
        elif event.mask & IN.IN_MOVED_FROM:
            self._held[event.cookie] = _Half(event, time.monotonic() + _UNPAIRED_S)
            self._left[event.wd, event.name] = event.cookie
        else:
            self._listener.handle_event(event)

    def _release(self, cookie: int) -> InotifyEvent:
        event = self._held.pop(cookie).event
        del self._left[event.wd, event.name]
        return event

    def _forget_halves(self) -> None:
        self._held.clear()
        self._left.clear()


def parse(buffer: bytes) -> Iterator[InotifyEvent]:
    """The events in a read buffer; names are padded with zero bytes."""
    at = 0
    while at < len(buffer):
        wd, mask, cookie, length = _HEADER.unpack_from(buffer, at)
        at += _HEADER.size
        yield InotifyEvent(wd, mask, cookie, buffer[at : at + length].rstrip(b"\0"))
        at += length

"""One inotify instance for all roots: watches on directories, one thread that reads, renames paired.

This reads the kernel's queue itself, over watchdog's bindings (``watchdog.observers.inotify_c``), because four things
that "nothing is missed" stands on can't be had from watchdog 7.1's own reader: a watch that exists can be asked for
again (how a walk after lost events finds directories that were replaced); a directory that may not be read is told
from one that is watched; the owner hears when the reading thread dies; and an overflow reaches whoever can repair it.

inotify(7) has the events. A MOVED_FROM and its MOVED_TO carry one cookie and mostly follow each other; they are paired
here, across roots too. One without the other is a coming or going.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import termios
import threading
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

log = structlog.get_logger()

IN = InotifyConstants
MASK = (
    *(IN.IN_CREATE, IN.IN_MODIFY, IN.IN_ATTRIB, IN.IN_CLOSE_WRITE, IN.IN_DELETE, IN.IN_MOVED_FROM, IN.IN_MOVED_TO),
    *(IN.IN_DELETE_SELF, IN.IN_MOVE_SELF, IN.IN_ONLYDIR, IN.IN_EXCL_UNLINK),
)
"""Reading makes none of these, so our own work makes no events. MODIFY is for truncate(2), which closes nothing."""
LOST = IN.IN_DELETE_SELF | IN.IN_MOVE_SELF | IN.IN_UNMOUNT
"""A watched directory itself is no longer where it was."""

_HEADER = struct.Struct("iIII")
_BATCH_S = 0.005
"""A pause after each read: the kernel joins events meanwhile, and a rename's two halves arrive together."""
_UNPAIRED_MS = 10
"""How long a MOVED_FROM waits for its MOVED_TO once the queue is empty; inotify(7) speaks of "a few" ms."""


class Event(NamedTuple):
    """One event on a directory: ``wd`` as ``Inotify.watch`` gave it."""

    wd: int
    mask: int
    cookie: int
    name: bytes

    @property
    def is_directory(self) -> bool:
        return bool(self.mask & IN.IN_ISDIR)


class Listener(Protocol):
    """Hears of everything, on the reading thread."""

    def on_event(self, event: Event) -> None: ...

    def on_move(self, source: Event, target: Event) -> None: ...

    def on_loss(self, reason: str) -> None:
        """Events were lost ("overflow"), or all watches were ("died")."""


class Inotify:
    """Watches and the thread that reads their events. ``watch`` and ``unwatch`` may be called from any thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._stop = -1
        self._died = False
        self._dispatching = False
        """what was read is being told"""
        self._held: dict[int, Event] = {}
        """MOVED_FROM events by cookie, that may yet find their MOVED_TO"""

    def start(self) -> None:
        """Begin anew, with no watches. Raises WatchError when the user's inotify instances are used up."""
        self.stop()
        self._fd = inotify_init()
        if self._fd == -1:
            reason = os.strerror(ctypes.get_errno())
            raise WatchError(f"no inotify instance: {reason}; see fs.inotify.max_user_instances (128 by default)")
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)
        self._stop = os.eventfd(0)
        self._held.clear()
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
        """Whether events wait to be read, or are being told: what happened on the disk before this call, and is heard
        of, was told if not."""
        if not self.alive():
            return False
        unread = array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, unread)  # inotify(7) has this one
        except (OSError, ValueError):
            return False  # stopped in this moment
        return bool(unread[0] or self._dispatching or self._held)

    def watch(self, path: bytes, follow_symlinks: bool = False) -> int:
        """Watch a directory; its descriptor, the same one as long as the same directory is watched.

        Raises OSError: ENOSPC when the user's watches are used up, EACCES, ENOENT, ENOTDIR."""
        mask = sum(MASK) | (0 if follow_symlinks else IN.IN_DONT_FOLLOW)
        wd = inotify_add_watch(self._fd, path, Mask(mask))
        if wd == -1:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
        return wd

    def unwatch(self, wd: int) -> None:
        """Stop watching; a watch that is gone already is passed over."""
        inotify_rm_watch(self._fd, WatchDescriptor(wd))

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        except Exception:
            self._died = True
            log.exception("inotify_reader_died")
            self._listener.on_loss("died")

    def _read_until_stopped(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        stopped = select.poll()
        stopped.register(self._stop, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll(_UNPAIRED_MS if self._held else None)]
            if self._stop in ready:
                return
            if not ready:
                self._dispatching = True
                self._give_up_pairing(set(self._held))
                self._dispatching = False
                continue
            unpaired = set(self._held)
            self._dispatching = True
            for event in parse(os.read(self._fd, 256 * 1024)):
                self._dispatch(event)
            self._give_up_pairing(unpaired)
            self._dispatching = False
            stopped.poll(_BATCH_S * 1000)

    def _dispatch(self, event: Event) -> None:
        if event.mask & IN.IN_Q_OVERFLOW:
            self._held.clear()
            self._listener.on_loss("overflow")
        elif event.mask & IN.IN_MOVED_FROM:
            self._held[event.cookie] = event
        elif event.mask & IN.IN_MOVED_TO and event.cookie in self._held:
            self._listener.on_move(self._held.pop(event.cookie), event)
        else:
            self._listener.on_event(event)

    def _give_up_pairing(self, cookies: set[int]) -> None:
        for cookie in cookies & self._held.keys():
            self._listener.on_event(self._held.pop(cookie))


def parse(buffer: bytes) -> Iterator[Event]:
    """The events in what was read; a name is padded with zero bytes."""
    at = 0
    while at < len(buffer):
        wd, mask, cookie, length = _HEADER.unpack_from(buffer, at)
        at += _HEADER.size
        yield Event(wd, mask, cookie, buffer[at : at + length].rstrip(b"\0"))
        at += length

"""Stands for the daemon: knows files from events alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.posix.mounts import is_at_or_below
from shazimd.protocol.status import WatchStatus
from shazimd.watch.debounce import Debouncer, stat_of
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher

QUIET_S = 0.05


class Mirror:
    """Knows the image files of its roots from events alone, as the daemon does: it looks where it is told to."""

    def __init__(self, watches: Watches, *roots: Path, **config: Any) -> None:
        config = {"poll_interval_s": 3600, **config}
        self.events: list[FileEvent] = []
        self.given: list[FileEvent] = []
        self.files: dict[bytes, object] = {}
        self.watches = watches
        self.rules = {os.fsencode(root): Filter(WatchConfig(path=str(root), **config)) for root in roots}
        self._stopped_at: float | None = None
        self.debouncer = Debouncer(dict.fromkeys(self.rules, QUIET_S), clock=self._now)
        self.watchers = [
            Watcher(WatchConfig(path=str(root), **config), rules, self.put, watches)
            for root, rules in zip(roots, self.rules.values(), strict=True)
        ]
        self._thread = threading.Thread(target=self._follow)

    def start(self) -> Mirror:
        self._thread.start()
        for watcher in self.watchers:
            watcher.start()
        wait_for(lambda: all(root in self.given_trees() for root in self.rules))
        return self

    def stop(self) -> None:
        for watcher in self.watchers:
            watcher.stop()
        self.debouncer.close()
        self._thread.join()

    def put(self, event: FileEvent) -> None:
        self.events.append(event)
        self.debouncer.put(event)

    def clear(self) -> None:
        self.events.clear()
        self.given.clear()

    def status(self) -> WatchStatus:
        return self.watchers[0].status()

    def given_trees(self) -> list[bytes]:
        return [event.path for event in tuple(self.given) if event.kind is Kind.TREE]

    def given_files(self) -> list[bytes]:
        return [event.path for event in tuple(self.given) if event.kind is Kind.FILE]

    def disk(self) -> dict[bytes, object]:
        return {path: stat for root in self.rules for path, stat in self.disk_below(root).items()}

    def disk_below(self, top: bytes) -> dict[bytes, object]:
        rules = next(rules for root, rules in self.rules.items() if is_at_or_below(top, root))
        found: dict[bytes, object] = {}
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if rules.enters(name)]
            for name in filter(rules.takes, files):
                found[os.path.join(directory, name)] = stat_of(os.path.join(directory, name))
        return {path: stat for path, stat in found.items() if stat is not None}

    def wait_until_true(self) -> None:
        """Until all that happened was told and looked at, and what is known is what the disk has."""
        wait_for(lambda: self._is_told() and not self.debouncer.pending() and dict(self.files) == self.disk())

    @contextmanager
    def in_no_time(self) -> Iterator[None]:
        """Let no file settle until the block is left and told of: a busy machine may pause within."""
        self._stopped_at = time.monotonic()
        yield
        wait_for(self._is_told)
        self._stopped_at = None

    def _now(self) -> float:
        stopped_at = self._stopped_at
        return time.monotonic() if stopped_at is None else stopped_at

    def _is_told(self) -> bool:
        return not any(watcher.is_behind() for watcher in self.watchers)

    def _follow(self) -> None:
        while not self.debouncer._closed:
            for event in self.debouncer.take():
                self._look(event)
                self.given.append(event)

    def _look(self, event: FileEvent) -> None:
        if event.kind is Kind.TREE:
            below = [path for path in self.files if is_at_or_below(path, event.path)]
            for path in below:
                del self.files[path]
            self.files.update(self.disk_below(event.path))
        elif event.kind is Kind.MOVED:
            self._move(event.old or b"", event.path)
        elif event.kind is Kind.FILE:
            self.files.pop(event.path, None)
            stat = stat_of(event.path)
            if stat is not None:
                self.files[event.path] = stat

    def _move(self, old: bytes, new: bytes) -> None:
        moved = {path: stat for path, stat in self.files.items() if is_at_or_below(path, old)}
        self.files = {
            path: stat for path, stat in self.files.items() if path not in moved and not is_at_or_below(path, new)
        }
        self.files.update({new + path[len(old) :]: stat for path, stat in moved.items()})

"""`shazimd` with faults of its own: a thread fails when a file with a certain name lands."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from shazimd.daemon.main import main
from shazimd.daemon.run import Run
from shazimd.watch import inotify
from shazimd.watch.events import FileEvent
from shazimd.watch.inotify import InotifyEvent

parse = inotify.parse
handle = Run._handle
done: set[bytes] = set()


def fail_once(name: bytes, where: bytes) -> None:
    if name in where and name not in done:
        done.add(name)
        raise RuntimeError(f"sabotaged by {name.decode()}")


def sabotaged_parse(buffer: bytes) -> Iterator[InotifyEvent]:
    fail_once(b"reader.ppm", buffer)
    return parse(buffer)


def sabotaged_handle(self: Run, event: FileEvent) -> None:
    fail_once(b"follow.ppm", event.path)
    handle(self, event)


inotify.parse = sabotaged_parse
Run._handle = sabotaged_handle  # type: ignore[method-assign]  # that is the sabotage
sys.exit(main())

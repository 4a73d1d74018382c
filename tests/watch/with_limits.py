"""Run in a user namespace of its own: watches a root with too few watches, or no inotify instance, then with enough."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.posix.mounts import is_at_or_below
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher

FEW = {
    "watches": (4, {"mode": "inotify", "state": "watching", "watched_dirs": 4}),
    "instances": (0, {"mode": "poll", "state": "watching", "watched_dirs": 0}),
}


def wait_for_status(expected: dict[str, object]) -> None:
    wait_for(
        lambda: watcher.alive() and expected.items() <= watcher.status().items(),
        lambda: f"{expected}, found {watcher.status()}",
    )


def wait_for_events(paths: list[Path]) -> None:
    wait_for(
        lambda: all(any(is_at_or_below(os.fsencode(path), event.path) for event in events) for path in paths),
        lambda: f"for all of {paths}, found {events}",
    )


root = Path(sys.argv[1], "root")
limit = Path(f"/proc/sys/user/max_inotify_{sys.argv[2]}")
directories = [root / name / "deep" for name in "abcd"]
for directory in directories:
    directory.mkdir(parents=True)
few, expected = FEW[sys.argv[2]]
enough = limit.read_text()
limit.write_text(str(few))
events: list[FileEvent] = []
config = WatchConfig(path=str(root), poll_interval_s=1)
watcher = Watcher(config, Filter(config), events.append, Watches())
watcher.start()
wait_for_status(expected)
wait_for_events([root])
events.clear()
for directory in directories:
    (directory / "a.jpg").touch()
wait_for_events([directory / "a.jpg" for directory in directories])
sys.stderr.write("polled ")
limit.write_text(enough)
wait_for_status({"mode": "inotify", "state": "watching", "watched_dirs": 9, "unwatched_dirs": 0})
sys.stderr.write("repaired\n")
assert Kind.TREE in {event.kind for event in events}
watcher.stop()

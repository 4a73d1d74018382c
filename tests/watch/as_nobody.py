"""Run as root: becomes nobody and watches a tree with a directory that nobody may read, until it may."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Literal

from shazimd.config import WatchConfig
from shazimd.watch.events import FileEvent
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher


def wait_for(key: Literal["watched_dirs", "unreadable_dirs"], value: int) -> None:
    end = time.monotonic() + 180  # as tests/patience.py
    while watcher.status()[key] != value:
        if time.monotonic() > end:
            sys.exit(f"expected {key} = {value}, found {watcher.status()}")
        time.sleep(0.01)


os.setegid(65534)
os.seteuid(65534)
root = tempfile.mkdtemp()
os.mkdir(f"{root}/locked", 0)
events: list[FileEvent] = []
config = WatchConfig(path=root)
watcher = Watcher(config, Filter(config), events.append, Watches())
watcher.start()
wait_for("unreadable_dirs", 1)
sys.stderr.write("noted ")
os.chmod(f"{root}/locked", 0o700)
wait_for("watched_dirs", 2)
wait_for("unreadable_dirs", 0)
sys.stderr.write("repaired\n")
watcher.stop()
os.rmdir(f"{root}/locked")
os.rmdir(root)

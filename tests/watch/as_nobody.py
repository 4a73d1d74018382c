"""Run as root: becomes nobody and watches a tree with a directory that nobody may read, until it may."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Literal

from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.watch.events import FileEvent
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher


def expect(key: Literal["watched_dirs", "unreadable_dirs"], value: int) -> None:
    wait_for(lambda: watcher.status()[key] == value, lambda: f"{key} = {value}, found {watcher.status()}")


os.setegid(65534)
os.seteuid(65534)
root = tempfile.mkdtemp()
os.mkdir(f"{root}/locked", 0)
events: list[FileEvent] = []
config = WatchConfig(path=root)
watcher = Watcher(config, Filter(config), events.append, Watches())
watcher.start()
expect("unreadable_dirs", 1)
sys.stderr.write("noted ")
os.chmod(f"{root}/locked", 0o700)
expect("watched_dirs", 2)
expect("unreadable_dirs", 0)
sys.stderr.write("repaired\n")
watcher.stop()
os.rmdir(f"{root}/locked")
os.rmdir(root)

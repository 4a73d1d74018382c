"""Run as root in a mount namespace of its own: mounts and unmounts a tmpfs over and within a watched root."""

from __future__ import annotations

import os
import subprocess
import sys

from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher

root = os.path.join(sys.argv[1], "root")
events: list[FileEvent] = []


def mount(path: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)


def heard_of(path: str) -> bool:
    return any(event.path == os.fsencode(path) for event in events)


def is_told() -> bool:
    return FileEvent(Kind.TREE, os.fsencode(root)) in events


os.mkdir(root)
config = WatchConfig(path=root)
watcher = Watcher(config, Filter(config), events.append, Watches())
watcher.start()
wait_for(is_told)

events.clear()
mount(root)
wait_for(is_told)
open(f"{root}/a.jpg", "w").close()
wait_for(lambda: heard_of(f"{root}/a.jpg"))
sys.stderr.write("over ")

os.mkdir(f"{root}/usb")
wait_for(lambda: watcher.status()["watched_dirs"] == 2)
events.clear()
mount(f"{root}/usb")
wait_for(is_told)
open(f"{root}/usb/b.jpg", "w").close()
wait_for(lambda: heard_of(f"{root}/usb/b.jpg"))
events.clear()
subprocess.run(["umount", f"{root}/usb"], check=True)
wait_for(is_told)
sys.stderr.write("within ")

subprocess.run(["umount", root], check=True)
wait_for(lambda: watcher.status()["state"] == "unavailable")
sys.stderr.write("away ")

events.clear()
mount(root)
wait_for(is_told)
wait_for(lambda: watcher.status()["state"] == "watching")
sys.stderr.write("back ")
watcher.stop()

"""Two disks that take turns at one mount point, as two cards do in one reader."""

from __future__ import annotations

import random
import subprocess
from itertools import count
from pathlib import Path
from typing import Self

from world import World, picture

OTHERS = 3
PICTURES = count(1 << 41)
"""of no other step"""


class MountPoint:
    """A directory with a file system of its own where the user may mount, and a plain one elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._first = folder / "first"  # keeps the first disk mounted while the other is in
        self.can_swap = False

    def __enter__(self) -> Self:
        self.path.mkdir()
        self._first.mkdir()
        self.can_swap = _mount("-t", "tmpfs", "none", str(self._first)) and self._put_in_first()
        return self

    def __exit__(self, *_: object) -> None:
        for place in (self.path, self._first):
            if place.is_mount():
                _take_out(place)

    def put_in_other(self) -> None:
        _take_out(self.path)
        assert _mount("-t", "tmpfs", "none", str(self.path))

    def put_first_back(self) -> None:
        _take_out(self.path)
        assert self._put_in_first()

    def _put_in_first(self) -> bool:
        return _mount("--bind", str(self._first), str(self.path))


class DiskSwap:
    """For a daemon and a tree at rest."""

    def __init__(self, running: World, point: MountPoint, chance: random.Random, patience_s: float) -> None:
        self._running = running
        self._point = point
        self._chance = chance
        self._patience_s = patience_s

    def step(self) -> str:
        """Put another disk in and the first one back, each with the daemon up or down: no row of the first disk goes,
        nothing of it is read as new, and after a rescan the store equals it again."""
        if not self._point.can_swap:
            return "no right to mount"
        before, decoded = self._running.known(), self._running.decoded()
        down = [self._chance.random() < 0.5 for _ in range(2)]
        self._goes_down(down[0])
        self._point.put_in_other()
        self._running.root.mkdir()
        for number in range(OTHERS):
            (self._running.root / f"other{number}.ppm").write_bytes(picture(next(PICTURES)))
        others = self._running.on_disk()
        self._comes_up(down[0])
        self._running.wait_until(lambda: self._running.known().files == before.files | others)
        self._goes_down(down[1])
        self._point.put_first_back()
        self._comes_up(down[1])
        self._running.client.rescan(None)
        self._running.wait_until(lambda: self._running.known().files == before.files)
        self._running.rest(self._patience_s)
        assert len(self._running.decoded()) <= len(decoded) + OTHERS  # a kill may come before the log line
        assert set(self._running.known().alerts) == set(before.alerts)
        return f"another disk, put in with the daemon {_state(down[0])} and taken out with it {_state(down[1])}"

    def _goes_down(self, does: bool) -> None:
        if does:
            self._running.kill()

    def _comes_up(self, does: bool) -> None:
        if does:
            self._running.spawn()
        self._running.rest(self._patience_s)


def _mount(*arguments: str) -> bool:
    """Whether that was allowed."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def _take_out(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _state(is_down: bool) -> str:
    return "down" if is_down else "up"

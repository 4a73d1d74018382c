"""Faults of the machine between two runs of the daemon: a damaged store, and a clock that was set."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from daemon_process import SCRIPTS
from patience import PATIENCE_S
from world import World

from shazimd.store import maintenance

PAGE = 4096
CLOCK = Path(__file__).with_name("set_clock")
YEARS_S = 10 * 365 * 86400
DAMAGED_STATUS = 6


def truncate(data: Path, chance: random.Random) -> str:
    size = chance.randrange(data.stat().st_size)
    os.truncate(data, size)
    return f"truncated to {size}"


def flip(data: Path, chance: random.Random) -> str:
    at, bit = chance.randrange(data.stat().st_size), chance.randrange(8)
    with open(data, "r+b") as file:
        old = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([old ^ 1 << bit]), at)
    return f"bit {bit} of byte {at} flipped"


def clear_page(data: Path, chance: random.Random) -> str:
    page = chance.randrange(data.stat().st_size // PAGE)
    with open(data, "r+b") as file:
        os.pwrite(file.fileno(), bytes(PAGE), page * PAGE)
    return f"page {page} cleared"


KINDS: dict[str, Callable[[Path, random.Random], str]] = {"truncate": truncate, "flip": flip, "clear page": clear_page}


def set_clock(running: World, offset_s: int) -> None:
    """Have later runs see a wall clock that is off by so many seconds. File times and the monotonic clock stay."""
    python_path = os.pathsep.join([str(CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = [f"PYTHONPATH={python_path}", f"SHAZIMD_CLOCK_OFFSET_S={offset_s}"]
    running.program = ["env", *settings, str(SCRIPTS / "shazimd")]


class StoreFaults:
    """For a daemon that is down."""

    def __init__(self, running: World, chance: random.Random) -> None:
        self._running = running
        self._chance = chance

    def step(self) -> str:
        """Do something; its name."""
        assert not self._running.is_running()
        return self._chance.choice([self.damage, self.set_clock])()

    def damage(self) -> str:
        """Damage the store: check sees it and the daemon refuses it in words, or the place was not in use. Then a copy
        takes its place."""
        data = self._running.store / "data.mdb"
        copy = data.with_name("copy")
        shutil.copy(data, copy)
        done = self._chance.choice(list(KINDS.values()))(data, self._chance)
        if maintenance.check(str(self._running.store)):
            self._running.spawn().wait(PATIENCE_S)
            assert self._running.process is not None
            assert DAMAGED_STATUS == self._running.process.returncode, done
            assert "store_damaged" == self._running.events("stopped")[0]["code"]
        os.replace(copy, data)
        return done

    def set_clock(self) -> str:
        offset_s = self._chance.choice([-YEARS_S, -3600, 0, 3600, YEARS_S])
        set_clock(self._running, offset_s)
        return f"clock off by {offset_s} s"

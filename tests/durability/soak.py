"""Does a daemon stay as small as it is, hour by hour?

    PYTHONPATH=tests python tests/durability/soak.py [--minutes 60]

Takes the steps of the random history on one tree, without a kill; pictures of deleted files are forgotten at once.
Each minute it prints the resident memory of the daemon and its workers, the descriptors and threads, and the files
and bytes of the store. The first third of the time is for warming up; the last third may exceed the second by little.
Exits with 1 if it does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from disk import Disk
from world import World, picture, world

CONFIG = """
[store]
keep_deleted = "0"
"""
SLACK = {"resident_mib": 1.1, "descriptors": 1.1, "threads": 1.0, "files": 1.2, "store_mib": 1.3}
"""How much more the last third may hold than the second."""


class Held(NamedTuple):
    """Held by a daemon at one moment."""

    resident_mib: float
    descriptors: int
    threads: int
    files: int
    store_mib: float


def held(running: World) -> Held:
    assert running.process is not None
    daemon = psutil.Process(running.process.pid)
    family = [daemon, *daemon.children()]
    files = [path.stat() for path in running.store.rglob("*") if path.is_file()]
    return Held(
        round(sum(each.memory_info().rss for each in family) / 2**20, 1),
        daemon.num_fds(),
        daemon.num_threads(),
        len(files),
        round(sum(each.st_blocks for each in files) / 2048, 1),
    )


def soak(folder: Path, minutes: float, pause_s: float = 60) -> list[Held]:
    """What was held at each pause."""
    chance = random.Random(7)
    (folder / "outside").mkdir()
    taken: list[Held] = []
    with world(folder) as running:
        config = folder / "config.toml"
        config.write_text(config.read_text() + CONFIG)
        (running.root / "anchor.ppm").write_bytes(picture(1 << 40))
        running.start()
        disk = Disk(running.root, folder / "outside", chance)
        end = time.monotonic() + 60 * minutes
        print(*Held._fields, "steps", sep="\t", flush=True)
        steps = 0
        while time.monotonic() < end:
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                disk.step()
                steps += 1
                time.sleep(chance.random() / 10)
            running.rest()
            disk.rests()
            taken.append(held(running))
            print(*taken[-1], steps, sep="\t", flush=True)
    return taken


def growth(taken: list[Held]) -> list[str]:
    """Each value that is higher in the last third than it may be."""
    third = len(taken) // 3
    if third == 0:
        return []
    grown = []
    for field, slack in SLACK.items():
        second, last = (
            max(getattr(each, field) for each in part) for part in (taken[third : 2 * third], taken[2 * third :])
        )
        if last > slack * second:
            grown.append(f"{field}: {second} at most in the second third, {last} in the last")
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grown = growth(soak(Path(folder), args.minutes))
    print("\n".join(grown) or "flat")
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()

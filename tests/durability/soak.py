"""Does a daemon stay as small as it is, hour by hour?

    PYTHONPATH=tests python tests/durability/soak.py [--minutes 60]

Takes the steps of the random history on one tree, without a kill; pictures of deleted files are forgotten at once.
Each minute it prints the resident memory of the daemon and its workers, the descriptors and threads, the files of the
store, and the bytes of its tables. Its records of the past grow by design, 270 bytes an alert and 35 a removed picture,
and are not judged. The first third of the time is for warming up; of what is judged, the last third may exceed the
second by little. Exits with 1 if it does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import lmdb
import psutil
from disk import Disk
from world import World, picture, world

from shazimd.store.tables import TABLES_MAX, Tables

CONFIG = """
[store]
keep_deleted = "0"
"""
RECORDS = ("alerts", "removals")
SLACK = {"resident_mib": 1.1, "descriptors": 1.1, "threads": 1.0, "files": 1.2, "present_kib": 1.3}
"""How much more the last third may hold than the second."""


class Held(NamedTuple):
    """Held by a daemon at one moment."""

    resident_mib: float
    descriptors: int
    threads: int
    files: int
    present_kib: int
    """tables of the store that tell of what is there"""
    records_kib: int
    """tables of the store that tell of what was"""


def held(running: World) -> Held:
    assert running.process is not None
    daemon = psutil.Process(running.process.pid)
    family = [daemon, *daemon.children()]
    bytes_of = table_bytes(running.store)
    records = sum(bytes_of.pop(name) for name in RECORDS)
    return Held(
        round(sum(each.memory_info().rss for each in family) / 2**20, 1),
        daemon.num_fds(),
        daemon.num_threads(),
        sum(path.is_file() for path in running.store.rglob("*")),
        sum(bytes_of.values()) // 1024,
        records // 1024,
    )


def table_bytes(store: Path) -> dict[str, int]:
    """The bytes of each table's pages."""
    with lmdb.open(str(store), readonly=True, max_dbs=TABLES_MAX, create=False) as env, env.begin() as txn:
        found = {name: txn.stat(env.open_db(name.encode(), txn=txn, create=False)) for name in Tables._fields}
    return {
        name: each["psize"] * (each["branch_pages"] + each["leaf_pages"] + each["overflow_pages"])
        for name, each in found.items()
    }


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
                time.sleep(chance.random() / 10)  # 20 steps a second, of which none may leave anything
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

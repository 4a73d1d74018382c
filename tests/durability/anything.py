"""What does the daemon make of a folder of anything?

    PYTHONPATH=tests python tests/durability/anything.py [FOLDER] [--files 500] [--seed 0]

Gives a real daemon each file of FOLDER under the name of a picture, in a tree of its own; without FOLDER as many
files as asked for, made from pictures of every format by cuts, flipped and inserted bytes, and huge numbers in headers.
Prints a table of the outcomes. Exits with 1 if a file is in none of them, or if the daemon has ended, can't be
stopped or started again, or left a store with faults.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from daemon_process import DaemonProcess, daemon_process, drawing
from file_formats import WRITERS

from shazimd.client import Client

ENOUGH_S = 3600


class Outcomes(NamedTuple):
    """The outcome of each file, in the words of the table, and the faults of the daemon."""

    counts: Counter[str]
    faults: list[str]


def made(seed: int, count: int) -> Iterator[bytes]:
    """Files from pictures of every format, most of them spoilt."""
    chance = random.Random(seed)
    formats = list(WRITERS.values())
    for number in range(count):
        data = bytearray(formats[number % len(formats)](drawing(number % 40, (96, 72))))
        for _ in range(chance.randrange(4)):
            _spoil(data, chance)
        yield bytes(data)


def _spoil(data: bytearray, chance: random.Random) -> None:
    if not data:
        return
    at = min(chance.randrange(len(data)), chance.randrange(len(data)))  # headers more often
    kind = chance.randrange(6)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 2:
        data[at : at + 4] = b"\xff\xff\xff\x7f"
    elif kind == 3:
        data[at:at] = chance.randbytes(chance.randrange(1, 64))
    elif kind == 4:
        del data[at : at + chance.randrange(1, 64)]
    else:
        data += data[at:]


def outcomes(folder: Path, files: Iterator[bytes]) -> Outcomes:
    """Write the files below ``folder``, and have a daemon take them in: half before its start, half while it runs."""
    with daemon_process(folder) as daemon:
        names = []
        for number, data in enumerate(files):
            path = daemon.root / f"{number % 50}" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            target = path if number % 2 else folder / f"late-{path.name}"
            target.write_bytes(data)
            names.append((target, path))
        daemon.start()
        for target, path in names:
            if target != path:
                target.rename(path)
        daemon.wait_for("root_watched")
        waited = daemon.ctl("wait", "--timeout", str(ENOUGH_S), patience_s=ENOUGH_S + 60)
        faults = [f"wait: {waited.stderr}"] if waited.returncode else []
        counts, told = _counted(Client(daemon.socket))
        lost = {os.fspath(path) for _, path in names} - told
        counts["in no outcome"] = len(lost)
        faults += [f"in no outcome: {sorted(lost)[:5]}"] if lost else []
        return Outcomes(counts, faults + _ending(daemon, len(names)))


def _counted(client: Client) -> tuple[Counter[str], set[str]]:
    """The number of files by outcome, and the files that have one."""
    counts: Counter[str] = Counter()
    told = set()
    for file in client.export():
        counts[f"indexed as {file['format']}"] += 1
        told.add(file["path"])
    for failed in client.failed():
        reason = re.split(r"[:;,]| with the bytes", failed["reason"])[0]
        counts[f"failed: {failed['code']}: {re.sub('[0-9]+', 'N', reason)}"] += 1
        told.add(failed["path"])
    return counts, told


def _ending(daemon: DaemonProcess, files: int) -> list[str]:
    """Faults at the daemon's stop, in its store, and at its next start."""
    faults = []
    if status := daemon.stop():
        faults.append(f"it stopped with {status}")
    checked = daemon.ctl("store", "--store", str(daemon.store), "check")
    if checked.returncode:
        faults.append(f"store check: {checked.stdout}{checked.stderr}")
    daemon.start()
    counts = daemon.status()
    if counts["images"] + counts["failed"] != files:
        faults.append(f"after a restart {counts['images']} images and {counts['failed']} failed files, of {files}")
    daemon.stop()
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description="What does the daemon make of a folder of anything?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="anything-"))
    try:
        found = sorted(path for path in given.folder.rglob("*") if path.is_file()) if given.folder else []
        files = (path.read_bytes() for path in found) if given.folder else made(given.seed, given.files)
        result = outcomes(place, files)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for outcome, count in sorted(result.counts.items(), key=lambda item: (-item[1], item[0])):
        print(f"{count:7d}  {outcome}")
    for fault in result.faults:
        print(f"FAULT  {fault}")
    sys.exit(bool(result.faults))


if __name__ == "__main__":
    main()

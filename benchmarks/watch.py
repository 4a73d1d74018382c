"""Can the watcher follow a burst, and does it sleep when nothing happens?

    python benchmarks/watch.py [--files 25000] [--per-second 5000] [--directories 1000] [--idle 5]

A process of its own writes files at a rate; told are the time from the last file to the last event, overflows and the
CPU time spent on it. Then the same 1,000 watched directories are left alone. Goal: no overflow at 5,000 files a second,
nothing lost, and no CPU time when idle. The last answer stands in README.md beside this. A disk that
can't create files so fast holds up the writer: TMPDIR=/dev/shm has the burst in memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from shazimd.config import WatchConfig
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher

WRITER = """
import sys, time
root, files, rate, directories = sys.argv[1], *map(int, sys.argv[2:])
start = time.perf_counter()
for i in range(files):
    with open(f"{root}/{i % directories}/{i}.jpg", "wb") as file:
        file.write(b"picture")
    ahead = start + i / rate - time.perf_counter()
    if ahead > 0.005:
        time.sleep(ahead)
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=25_000)
    parser.add_argument("--per-second", type=int, default=5000)
    parser.add_argument("--directories", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        for i in range(args.directories):
            os.mkdir(f"{root}/{i}")
        config = WatchConfig(path=root)
        debouncer = Debouncer({os.fsencode(root): config.settle_ms / 1000})
        watcher = Watcher(config, Filter(config), debouncer.put, Watches())
        watcher.start()
        debouncer.take()
        burst(root, debouncer, args)
        print(f"overflows {watcher.status()['overflows']}, watched {watcher.status()['watched_dirs']} directories")
        idle(args.idle)
        watcher.stop()


def burst(root: str, debouncer: Debouncer, args: argparse.Namespace) -> None:
    command = [sys.executable, "-c", WRITER, root, *map(str, (args.files, args.per_second, args.directories))]
    cpu = time.process_time()
    given: set[bytes] = set()
    trees = 0
    last = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        ended = None
        while events := debouncer.take(timeout=2):
            last = time.perf_counter()
            if ended is None and writer.poll() is not None:
                ended = last
            given.update(event.path for event in events if event.kind is Kind.FILE)
            trees += sum(event.kind is Kind.TREE for event in events)
        assert writer.stdout is not None
        took = float(writer.stdout.read())
    cpu = time.process_time() - cpu
    print(f"{args.files} files in {took:.2f} s ({args.files / took:.0f}/s): {len(given)} given, {trees} trees")
    print(
        f"last event {last - (ended or last):.2f} s after the writer's end was seen, "
        f"{cpu / args.files * 1e6:.0f} us CPU a file"
    )


def idle(seconds: float) -> None:
    cpu = time.process_time()
    time.sleep(seconds)
    print(f"idle: {(time.process_time() - cpu) / seconds:.3%} CPU")


if __name__ == "__main__":
    main()

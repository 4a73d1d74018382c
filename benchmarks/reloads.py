"""Does a reload ever leave the daemon deaf, or leak?

    python -m benchmarks.reloads [--reloads 1000]

Reloads by SIGHUP and by the API, at random distances, while one thread asks with a picture without a pause and another
writes and removes files. Told are the questions that failed, descriptors, threads and memory after the first tenth and
at the end, and whether files written at the end are known. Exits with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.running import draw, is_settled, running, wait_until
from shazimd.client import Client
from shazimd.errors import ShazimdError

PAUSES_S = (0.0, 0.001, 0.01, 0.03, 0.1)
PICTURES = 20
GROWTH_MAX = 2
"""Threads of the server's pool come and go; a leak in each reload would be hundreds."""


class Held(NamedTuple):
    """Held by the daemon's process."""

    descriptors: int
    threads: int
    resident_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        sys.exit(measure(Path(folder), args.reloads, random.Random(args.seed)))


def measure(folder: Path, reloads: int, rng: random.Random) -> bool:
    """Print the answer; whether a promise is broken."""
    root = folder / "root"
    root.mkdir()
    for number in range(PICTURES):
        draw(root / f"{number}.png", number)
    with running(folder) as (process, client):
        load = Load(root, client)
        started = time.monotonic()
        reload(process, client, reloads // 10, rng)
        first = load.at_rest(process)
        reload(process, client, reloads - reloads // 10, rng)
        last = load.at_rest(process)
        took_s = time.monotonic() - started
        load.stop()
        written = root / "after.png"
        draw(written, PICTURES)
        wait_until(lambda: is_settled(client) and is_known(client, written))
    failed = (folder / "log").read_text().count("Traceback")
    print(f"{reloads} reloads in {took_s:.0f} s; questions {dict(load.answers)}; files written {load.written}")
    print(f"descriptors, threads, resident MiB: {tuple(first)} -> {tuple(last)}; tracebacks in the log: {failed}")
    grown = max(last.descriptors - first.descriptors, last.threads - first.threads) > GROWTH_MAX
    return bool(grown or failed or set(load.answers) != {"answered"})


def reload(process: psutil.Process, client: Client, times: int, rng: random.Random) -> None:
    for _ in range(times):
        if rng.random() < 0.5:
            process.send_signal(signal.SIGHUP)
        else:
            client.reload()
        time.sleep(rng.choice(PAUSES_S))


def is_known(client: Client, path: Path) -> bool:
    return any(match["path"] == str(path) for match in client.find(path.read_bytes())["matches"])


class Load:
    """A thread that asks, and one that writes and removes files; ``at_rest`` pauses both."""

    def __init__(self, root: Path, client: Client) -> None:
        self.answers: Counter[str] = Counter()
        self.written = 0
        self._root = root
        self._client = client
        self._stopped = False
        self._going = threading.Event()
        self._going.set()
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in (self._ask, self._write)]
        self._idle = threading.Barrier(len(self._threads) + 1)
        for thread in self._threads:
            thread.start()

    def at_rest(self, process: psutil.Process) -> Held:
        """Held once all work is done and no question is under way."""
        self._going.clear()
        self._idle.wait()
        wait_until(lambda: is_settled(self._client))
        time.sleep(1)  # the server closes the last connection after its answer
        held = Held(process.num_fds(), process.num_threads(), round(process.memory_info().rss / 2**20, 1))
        self._going.set()
        return held

    def stop(self) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stopped:
            if not self._going.is_set():
                self._idle.wait()
                self._going.wait()
            work()

    def _ask(self) -> None:
        picture = (self._root / "1.png").read_bytes()
        try:
            self.answers["answered" if self._client.find(picture)["matches"] else "no match"] += 1
        except ShazimdError as error:
            self.answers[error.code] += 1

    def _write(self) -> None:
        path = self._root / f"new{self.written % 5}.png"
        draw(path, 100 + self.written)
        self.written += 1
        time.sleep(0.05)
        if self.written % 2:
            path.unlink()


if __name__ == "__main__":
    main()

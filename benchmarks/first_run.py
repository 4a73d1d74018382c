"""What does the README's first command cost, from nothing to ready? One command, one table:

    python -m benchmarks.first_run [--photos 100]

It makes a virtual environment, installs this checkout without extras by ``pip install .``, and starts the daemon on a
folder of photos: with a network, then without one (``unshare -rn``). The packages are fetched before, so that the time
is pip's own and not the network's. Times are wall clock unless called the processor's; resident memory is of each
process once the daemon is ready, as /proc counts it, shared pages in each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.quality.photos import shared_folder
from benchmarks.running import PATIENCE_S, wait_until
from shazimd.client import Client
from shazimd.errors import ShazimdError

CHECKOUT = Path(__file__).resolve().parents[1]
BUILDS_WITH = "setuptools>=77"
"""As in pyproject.toml: pip builds this checkout in an environment of its own."""
MIB = 1 << 20
OFFLINE = ["unshare", "--map-root-user", "--net"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    options = parser.parse_args()
    photos = sorted((shared_folder() / "data" / "photos").glob("*/*.jpg"))[:: max(1, 1400 // options.photos)]
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        root = Path(folder, "root")
        root.mkdir()
        for number, photo in enumerate(photos[: options.photos]):
            shutil.copy(photo, root / f"{number}.jpg")
        print("| what | |\n|---|---|")
        for what, found in measure(Path(folder)):
            print(f"| {what} | {found} |", flush=True)


def measure(folder: Path) -> Iterator[tuple[str, str]]:
    fetched = folder / "packages"
    fetch = [sys.executable, "-m", "pip", "download", "-q", ".", BUILDS_WITH, "-d", str(fetched)]
    subprocess.run(fetch, check=True, cwd=CHECKOUT)
    offline = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(fetched)}
    started, before = time.monotonic(), children_s()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bare, made = size(folder / "venv"), time.monotonic()
    subprocess.run([folder / "venv/bin/pip", "install", "-q", "."], check=True, cwd=CHECKOUT, env=offline)
    installing = time.monotonic() - started
    yield (
        "making the environment, installing, of both the processor's time, s",
        (f"{made - started:.1f}, {installing - (made - started):.1f}, {children_s() - before:.1f}"),
    )
    yield "installed, MB, of these pip and setuptools", f"{size(folder / 'venv') / 1e6:.0f}, {bare / 1e6:.0f}"
    for network, prefix in (("with a network", []), ("without a network", OFFLINE)):
        started = time.monotonic()
        ready, resident, signals = run(folder, prefix)
        yield f"from the start to ready, {network}, s", f"{ready - started:.1f}"
        yield f"the whole command, {network}, s", f"{installing + ready - started:.0f}"
        yield f"signals of the first answer, {network}", signals
        yield f"resident, daemon and each worker, {network}, MiB", resident


def run(folder: Path, prefix: list[str]) -> tuple[float, str, str]:
    """The time when the daemon was ready, its memory, and the signals in an answer."""
    socket, root = folder / "s", folder / "root"
    words = [*prefix, folder / "venv/bin/shazimd", root, "--store", folder / "store", "--socket", socket]
    client = Client(str(socket))
    with open(folder / "log", "wb") as log:
        process = psutil.Popen(list(map(str, words)), stderr=log, cwd=folder)
    try:
        wait_until(lambda: is_ready(client))
        ready = time.monotonic()
        daemon = next(each for each in (process, *process.children()) if "shazimd" in " ".join(each.cmdline()[:2]))
        resident = [each.memory_info().rss / MIB for each in (daemon, *daemon.children())]
        found = client.find((root / "0.jpg").read_bytes())["matches"][0]
        signals = ", ".join(f"{name} {found[name]}" for name in ("dah", "ddh", "dfv"))
        return ready, ", ".join(f"{each:.0f}" for each in resident), signals
    finally:
        for each in (*process.children(recursive=True), process):
            each.terminate()
        process.wait(PATIENCE_S)
        shutil.rmtree(folder / "store")


def children_s() -> float:
    """Processor time of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def is_ready(client: Client) -> bool:
    try:
        status = client.status()
    except ShazimdError:
        return False
    return status["state"] == "ready" and not status["pending"]


def size(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)


if __name__ == "__main__":
    main()

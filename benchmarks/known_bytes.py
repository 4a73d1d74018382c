"""How fast do files with known bytes get their alerts? A copy of a folder is the most common way to get duplicates.

    python -m benchmarks.known_bytes [--files 20000] [--contents 50]

The contents are known pictures in one directory. Then all files are written, as copies of them, in directories of 500.
Told are the files a second from the first written file to the last stored alert, the processor time and the switches
of threads of the daemon's process for a file, and the time of the writer alone. Exits with 1 if not every copy raised
its alert.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.running import cpu_s, draw, is_settled, running, wait_until

DIRECTORY_FILES = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--contents", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        sys.exit(measure(Path(folder), args.files, args.contents))


def measure(folder: Path, files: int, contents: int) -> bool:
    """Print the answer; whether alerts are missing."""
    root = folder / "root"
    (root / "known").mkdir(parents=True)
    for number in range(contents):
        draw(root / "known" / f"{number}.png", number)
    pictures = [path.read_bytes() for path in sorted((root / "known").iterdir())]
    with running(folder) as (process, client):
        cpu, switches, started = cpu_s(process), _switches(process), time.perf_counter()
        for number in range(files):
            path = root / f"{number // DIRECTORY_FILES:03}" / f"{number:06}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(pictures[number % contents])
        written = time.perf_counter() - started
        wait_until(lambda: is_settled(client), timeout_s=60 + files / 20)
        took, cpu = time.perf_counter() - started, cpu_s(process) - cpu
        switches = _switches(process) - switches
        alerts = sum(1 for _ in client.alerts())
    print(f"{files} files of {contents} known contents, with {alerts} alerts: {took:.1f} s, {files / took:.0f} files/s")
    print(f"daemon: {1e3 * cpu / files:.2f} ms of processor time and {switches / files:.1f} switches of threads a file")
    print(f"the writer: {files / written:.0f} files/s")
    return alerts != files


def _switches(process: psutil.Process) -> int:
    """How often the kernel took the processor from a thread of a process, or a thread gave it up."""
    states = [state.read_text() for state in Path(f"/proc/{process.pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for state in states for line in state.splitlines() if "ctxt_switches" in line)


if __name__ == "__main__":
    main()

"""Is every file known, however a tree arrives?

    python -m benchmarks.bulk [--files 100000] [--directories 2000] [--contents 1000] [cp mv tar rsync git flat]

A tree of small pictures that share some contents is brought into the watched directory by each tool in turn; flat is cp
of half as many files in one directory. Told are the time until the daemon is at rest, and the number of files whose
rows differ from the disk. Each file raises its alert. Exits with 1 if a file differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb

from benchmarks.running import draw, is_settled, running, wait_until
from shazimd.store.reader import Reader
from shazimd.store.tables import TABLES_MAX, Tables
from shazimd.types import FileState


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--directories", type=int, default=2000)
    parser.add_argument("--contents", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        wrong = [tool for tool in args.tools or TOOLS if measure(Path(folder) / tool, tool, args)]
    sys.exit(bool(wrong))


def measure(folder: Path, tool: str, args: argparse.Namespace) -> bool:
    """Print the answer for one tool; whether a file differs."""
    if tool != "flat" and shutil.which(tool) is None:
        print(f"{tool}: not installed")
        return False
    folder.mkdir()
    files, directories = (args.files // 2, 1) if tool == "flat" else (args.files, args.directories)
    source, root = folder / "source", folder / "root"
    fill(source, files, directories, args.contents)
    with running(folder) as (process, client):
        started, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        TOOLS[tool](source, root / "tree")
        arrived = time.perf_counter() - started
        wait_until(lambda: is_settled(client), timeout_s=120 + files / 50)
        took, cpu = time.perf_counter() - started, sum(process.cpu_times()[:2]) - cpu
    wrong = differing(folder / "store", root)
    shutil.rmtree(folder)
    print(
        f"{tool}: {files} files in {directories} directories in {arrived:.0f} s, at rest after {took:.0f} s, "
        f"{cpu:.0f} s of processor time, {wrong} differ",
        flush=True,
    )
    return wrong > 0


def fill(source: Path, files: int, directories: int, contents: int) -> None:
    source.mkdir()
    drawn = source / "drawn.png"
    pictures = []
    for seed in range(contents):
        draw(drawn, seed)
        pictures.append(drawn.read_bytes())
    drawn.unlink()
    for number in range(files):
        directory = source / f"{number % directories:04}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:06}.png").write_bytes(pictures[number % contents])


def _tar(source: Path, target: Path) -> None:
    target.mkdir()
    with subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "-x", "-C", target], stdin=packing.stdout, check=True)


def _git(source: Path, target: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "gc.auto=0", "-C", str(source)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["git", "clone", "-q", source, target], check=True)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)


TOOLS: dict[str, Callable[[Path, Path], object]] = {
    "cp": _copy,
    "mv": lambda source, target: subprocess.run(["mv", source, target], check=True),
    "tar": _tar,
    "rsync": lambda source, target: subprocess.run(["rsync", "-a", f"{source}/", target], check=True),
    "git": _git,
    "flat": _copy,
}


def differing(store: Path, root: Path) -> int:
    """Number of files whose row and bytes differ, or that have only one of both."""
    with lmdb.open(str(store), readonly=True, max_dbs=TABLES_MAX, create=False) as env, env.begin() as txn:
        tables = Tables(*(env.open_db(name.encode(), txn=txn, create=False) for name in Tables._fields))
        reader = Reader(txn, tables, trim=lambda: None)
        known = {
            path: reader.digest(row.content) if row.state is FileState.INDEXED and row.content else b""
            for path, row in reader.walk(os.fsencode(root))
        }
    disk = {
        os.fsencode(path): hashlib.blake2b(path.read_bytes(), digest_size=32).digest()
        for path in root.rglob("*.png")
        if ".git" not in path.parts
    }
    return sum(known.get(path) != disk.get(path) for path in known.keys() | disk.keys())


if __name__ == "__main__":
    main()

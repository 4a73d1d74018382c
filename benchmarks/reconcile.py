"""How long does a pass over an unchanged archive take, against `find` asking for the same facts?

    python benchmarks/reconcile.py [--files 100000] [--directories 1000] [--rounds 5]

Both walk the same warm tree in turns; the median of each, and their ratio, which is what holds on other machines.
Goal: at most 3. The last answer stands in README.md beside this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from statistics import median

from shazimd.config import WatchConfig
from shazimd.ingest.commit import Committer
from shazimd.ingest.reconcile import Reconciler
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Stat
from shazimd.watch.filters import Filter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--directories", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        paths = make(root, args.files, args.directories)
        store = open_store(os.path.join(folder, "store"), 2**30)
        store.write(lambda writer: put(writer, paths))
        committer = Committer(store)
        reconciler = Reconciler(store, committer, {os.fsencode(root): Filter(WatchConfig(path=root))})
        finds, passes = [], []
        for _ in range(args.rounds):
            finds.append(timed(lambda: find(root)))
            passes.append(timed(lambda: whole(reconciler, os.fsencode(root))))
        committer.close()
        store.close()
    print(f"{args.files} files in {args.directories} directories, median of {args.rounds}")
    for i, name in enumerate(("wall", "CPU")):
        a, b = median(each[i] for each in finds), median(each[i] for each in passes)
        print(f"{name:4}   find {a:.3f} s   pass {b:.3f} s   ratio {b / a:.2f}")


def make(root: str, files: int, directories: int) -> list[bytes]:
    paths = []
    for i in range(directories):
        directory = os.path.join(root, f"{i % 10}", f"{i:05}")
        os.makedirs(directory)
        for j in range(files // directories):
            path = os.path.join(directory, f"IMG_{j:06}.jpg")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            paths.append(os.fsencode(path))
    return paths


def put(writer: Writer, paths: list[bytes]) -> None:
    for path in paths:
        writer.put_file(path, FileRow(Stat.of(os.stat(path)), FileState.FAILED, reason="made for a benchmark"))


def find(root: str) -> None:
    subprocess.run(["find", root, "-printf", r"%s %T@ %i %p\n"], stdout=subprocess.DEVNULL, check=True)


def whole(reconciler: Reconciler, root: bytes) -> None:
    reconciler.request(root)
    while (findings := reconciler.step()) is not None:
        assert not findings.look, "expected nothing to have changed"


def timed(work: object) -> tuple[float, float]:
    assert callable(work)
    wall, cpu = time.perf_counter(), cpu_s()
    work()
    return time.perf_counter() - wall, cpu_s() - cpu


def cpu_s() -> float:
    """Of this process and the children it waited for; steadier than the wall on a busy machine."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()

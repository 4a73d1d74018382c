"""A store, roots and a reconciler."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shazimd.config import WatchConfig
from shazimd.ingest.commit import Committer
from shazimd.ingest.reconcile import Reconciler
from shazimd.ingest.scan import Findings
from shazimd.posix.mounts import Mount, Mounts
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Stat
from shazimd.watch.filters import Filter


class FakeMounts(Mounts):
    """A mount table that the test writes."""

    def __init__(self, *points: Path) -> None:
        self.points = set(points)

    def table(self) -> dict[bytes, Mount]:
        points = [b"/", *map(os.fsencode, self.points)]
        return {point: Mount(point, b"ext4", b"8:1") for point in points}


class ScanBench:
    """A store, roots and a reconciler; ``run`` does what the daemon does with what it finds."""

    def __init__(self, store: Store, *roots: Path, mounts: Mounts | None = None, **rules: Any) -> None:
        self.store = store
        self.committer = committer_of(store)
        self.now = time.time() + 60
        self.mounts = mounts or FakeMounts()
        self.rules = {os.fsencode(root): Filter(WatchConfig(path=str(root), **rules)) for root in roots}
        self.restart()

    def restart(self) -> None:
        self.behind = False
        self.reconciler = Reconciler(self.store, self.committer, self.rules, clock=lambda: self.now, mounts=self.mounts)

    def steps(self) -> Iterator[Findings]:
        while (findings := self.step()) is not None:
            yield findings
            for path in findings.look + findings.unsettled:
                self.take_in(path)

    def step(self) -> Findings | None:
        return self.reconciler.step(is_behind=self.behind)

    def run(self, *paths: Path, confirmed: bool = False) -> list[Findings]:
        for path in paths or map(Path, map(os.fsdecode, self.rules)):
            self.reconciler.request(os.fsencode(path), confirmed=confirmed)
        return list(self.steps())

    def take_in(self, path: bytes) -> None:
        found = os.stat(path)
        row = FileRow(Stat.of(found), FileState.FAILED, reason="as a test")
        self.store.write(lambda writer: writer.put_file(path, row))

    def known(self) -> set[bytes]:
        with self.store.read() as reader:
            return {path for path, _ in reader.walk(b"/")}

    def state(self) -> list[str]:
        return [each["state"] for each in self.reconciler.progress().values()]


@contextmanager
def scan_store(folder: Path, map_mib: int = 64) -> Iterator[Store]:
    """A store that sees pass the seconds of ``passed_s``, closed at the end with its committer."""
    opened = open_store(str(folder / "store"), map_mib << 20, ticks=lambda: passed_s[0])
    try:
        yield opened
    finally:
        if opened in _committers:
            _committers.pop(opened).close()
        opened.close()


passed_s = [0.0]
"""the time that the stores of these tests see pass"""


_committers: dict[Store, Committer] = {}


def committer_of(store: Store) -> Committer:
    """The store's only writer besides the test."""
    if store not in _committers:
        _committers[store] = Committer(store)
    return _committers[store]


def fill(directory: Path, number: int = 3) -> list[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{i}.jpg" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i + 1))
    return [os.fsencode(path) for path in paths]


def looked(findings: list[Findings]) -> list[bytes]:
    return sorted(path for each in findings for path in each.look + each.unsettled)


def total(findings: list[Findings], what: Callable[[Findings], int]) -> int:
    return sum(map(what, findings))


def removed(findings: list[Findings]) -> int:
    return total(findings, lambda each: each.removed)


def moved(findings: list[Findings]) -> int:
    return total(findings, lambda each: each.moved)

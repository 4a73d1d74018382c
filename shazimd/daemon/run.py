"""The run: what the watchers hint at and what comparing with the disk finds goes to ingest, until told to stop.

    starting --> baseline --> ready --> draining
                 until every root that can be reached was compared as a whole once

One thread follows: it takes hints as they come to rest and, between them and as long as the backlog is short, compares
one directory after another. Nothing is queued that could be lost: what is not done is found again on the disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, cast

import structlog

from shazimd.config import WatchConfig
from shazimd.errors import NotFound, StoreFull
from shazimd.ingest.commit import Committer
from shazimd.ingest.ingest import Ingest
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.ingest.moves import apply_move
from shazimd.ingest.reconcile import Findings, Reconciler
from shazimd.posix.mounts import is_at_or_below
from shazimd.protocol import Root, State
from shazimd.store.base import Store
from shazimd.text import path_fields
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind, Stage
from shazimd.watch.filters import Filter
from shazimd.watch.watcher import Watcher

log = structlog.get_logger()

BACKLOG_MAX = 64
"""Files found by comparing that wait for ingest before the next directory is compared: enough to keep all workers
busy, and few enough to hold in memory."""
RETRY_S = 5.0
"""How long to wait after a fault of our own before all is compared anew."""
TICK_S = 0.05
"""How often the backlog is looked at while there is one."""


class WatchedRoot(NamedTuple):
    config: WatchConfig
    rules: Filter
    watcher: Watcher


class Roots:
    """The roots by path, and which of them have their baseline."""

    def __init__(self, rules: Sequence[tuple[WatchConfig, Filter]], store: Store, *, alert_on_baseline: bool) -> None:
        self._by_length = sorted(rules, key=lambda pair: -len(pair[1].root))
        self._alert_on_baseline = alert_on_baseline
        with store.read() as reader:
            self.without_baseline = {f.root for _, f in rules if not reader.get(baseline_key(f.root))}

    def of(self, path: bytes) -> tuple[WatchConfig, Filter] | None:
        """The innermost root that a path lies in."""
        return next((pair for pair in self._by_length if is_at_or_below(path, pair[1].root)), None)

    def admits(self, path: bytes) -> bool:
        found = self.of(path)
        return found is not None and found[1].admits(path)

    def silent(self, path: bytes) -> bool:
        """Whether a new file there raises no alert."""
        found = self.of(path)
        if found is None or found[0].reference:
            return True
        return found[1].root in self.without_baseline and not self._alert_on_baseline

    def follows_symlinks(self, path: bytes) -> bool:
        found = self.of(path)
        return found is not None and found[0].follow_symlinks


class Daemon:
    def __init__(
        self,
        roots: Roots,
        watched: Sequence[WatchedRoot],
        debouncer: Debouncer,
        reconciler: Reconciler,
        ingest: Ingest,
        jobs: Jobs,
        committer: Committer,
        on_baseline: Callable[[bytes], None],
    ) -> None:
        """``on_baseline`` is called once for each root, when its baseline is complete."""
        self._roots = roots
        self._watched = watched
        self._settler = debouncer
        self._reconciler = reconciler
        self._ingest = ingest
        self._jobs = jobs
        self._committer = committer
        self._on_baseline = on_baseline
        self._comparing = False
        self._compared: dict[bytes, float] = {}
        """when each root was last compared as a whole, since the start; Unix time"""
        self._unsettled: set[bytes] = set()
        """files that a baseline found while they may still have been written: part of it once they have come to rest"""
        self._confirmed: set[bytes] = set()
        """directories that a person asked to have compared: what is missing there is removed, however much it is"""
        self._begun = False
        self._draining = threading.Event()
        self._after: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)

    def start(self, after: Callable[[], object] = lambda: None) -> None:
        """Begin once ``after`` has returned; this returns at once."""
        self._after = after
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, finish the files in hand. What waits is found again at the next start."""
        self._draining.set()
        for root in self._watched:
            root.watcher.stop()
        self._settler.close()
        self._jobs.drop()
        with self._committer.impatient():
            self._thread.join()
            self._jobs.close()

    def alive(self) -> bool:
        """Whether the thread that follows and all watchers run."""
        return self._thread.is_alive() and (not self._begun or all(root.watcher.alive() for root in self._watched))

    @property
    def state(self) -> State:
        if self._draining.is_set():
            return "draining"
        if not self._begun:
            return "starting"
        reachable = {root.rules.root for root in self._watched if root.watcher.status()["state"] != "unavailable"}
        return "baseline" if self._roots.without_baseline & reachable else "ready"

    def pending(self) -> int:
        """Files and directories that need a look. When it is 0, all that happened in the roots before the call, as far
        as the kernel tells, is in the store."""
        return self._count_pending() or self._count_pending()  # a job may have sent a path back to the debouncer

    def _count_pending(self) -> int:
        """In the order in which the work moves on, so that nothing slips past between two counts."""
        heard = sum(root.watcher.is_behind() for root in self._watched)
        settling = self._settler.pending()
        comparing = int(self._comparing)
        directories: int = sum(each["directories_pending"] for each in self._reconciler.progress().values())
        return heard + settling + max(directories, comparing) + self._jobs.pending()

    def roots(self) -> list[Root]:
        """How each root is."""
        told: list[Root] = []
        for root in self._watched:
            path = root.rules.root
            status = root.watcher.status() | path_fields(path)
            comparison = self._reconciler.progress()[path]
            if comparison["state"] in ("unavailable", "held"):
                status["state"] = comparison["state"]
            has_baseline = path not in self._roots.without_baseline
            told.append(
                cast(
                    Root,
                    {
                        **status,
                        "reconcile": comparison,
                        "baseline_complete": has_baseline,
                        "compared_at": self._compared.get(path),
                    },
                )
            )
        return told

    def rescan(self, path: bytes | None) -> None:
        """Compare a file or directory, or all roots, with the disk soon. Raises NotFound outside the roots."""
        if path is None:
            for root in self._watched:
                self._confirmed.add(root.rules.root)
                root.watcher.refresh()
        elif self._roots.of(path) is None:
            raise NotFound(f"{os.fsdecode(path)}: lies in none of the watched directories")
        elif os.path.isdir(path):
            self._confirmed.add(path)
            self._settler.put(FileEvent(Kind.TREE, path))
        else:
            self._offer(path, Lane.LIVE)

    def _follow(self) -> None:
        self._after()
        if not self._draining.is_set():
            self._begin()
        while not self._draining.is_set():
            try:
                self._turn()
            except Exception:  # what it was about to do is not known: comparing everything finds it again
                if not self._draining.is_set():
                    log.exception("following_failed", retry_s=RETRY_S)
                for root in self._watched:
                    root.watcher.refresh()
                self._draining.wait(RETRY_S)

    def _begin(self) -> None:
        """Watch first, then compare: what comes in between is seen twice rather than never."""
        for key, work in self._ingest.tell_untold():
            self._jobs.offer(key, work, Lane.LIVE)
        for root in self._watched:
            root.watcher.start()
        self._begun = True

    def _turn(self) -> None:
        busy = self._comparing or self._roots.without_baseline & self._compared.keys()
        moves: list[Future[None]] = []
        for hint in self._settler.take(TICK_S if busy else None):
            if hint.kind is Kind.MOVED:
                moves.append(self._move(hint))
            else:
                _finish(moves)
                self._heed(hint)
        _finish(moves)
        self._compare()
        self._finish_baselines()

    def _move(self, hint: FileEvent) -> Future[None]:
        """Take over a rename. Many at a time share one commit; who looks at the new place waits for it."""
        old, new = hint.old, hint.path
        assert old is not None
        return self._committer.submit(lambda writer: apply_move(writer, old, new))

    def _heed(self, hint: FileEvent) -> None:
        if hint.kind is Kind.TREE:
            self._reconciler.request(hint.path, confirmed=hint.path in self._confirmed)
            self._confirmed.discard(hint.path)
            self._comparing = True
        else:
            lane = Lane.BACKLOG if hint.path in self._unsettled else Lane.LIVE
            self._offer(hint.path, lane, deleted=hint.stage is Stage.GONE)
            self._unsettled.discard(hint.path)

    def _offer(self, path: bytes, lane: Lane, *, deleted: bool = False) -> None:
        if self._roots.admits(path):
            self._jobs.offer(path, partial(self._ingest.look, path, deleted=deleted), lane)

    def _compare(self) -> None:
        """Compare directories until the backlog is long enough, or something has come to rest."""
        while self._comparing and self._jobs.pending() < BACKLOG_MAX and not self._draining.is_set():
            try:
                findings = self._reconciler.step()
            except StoreFull as error:
                self._committer.wait_after(error)
                return
            if findings is None:
                self._comparing = False
                return
            if findings.waiting:
                return
            self._take_up(findings)

    def _take_up(self, findings: Findings) -> None:
        for path in findings.look:
            self._offer(path, Lane.BACKLOG)
        self._unsettled.difference_update(findings.look)
        for path in findings.unsettled:
            if self._roots.without_baseline:
                self._unsettled.add(path)
            self._settler.put(FileEvent(Kind.FILE, path))
        if findings.completed is not None:
            self._compared[findings.completed] = time.time()

    def _finish_baselines(self) -> None:
        """A baseline is complete when all that the first comparison found is taken in."""
        if self._unsettled or self._jobs.pending(Lane.BACKLOG):
            return
        for root in self._roots.without_baseline & self._compared.keys():
            self._committer.submit(lambda writer, root=root: writer.set(baseline_key(root), True)).result()  # type: ignore[misc]
            self._roots.without_baseline.discard(root)
            self._on_baseline(root)


def _finish(moves: list[Future[None]]) -> None:
    for move in moves:
        move.result()
    moves.clear()


def baseline_key(root: bytes) -> str:
    return "baseline:" + os.fsdecode(root)

"""A run: all threads and state of a single reading of the settings. Events and scans lead to ingests.

    starting --> baseline --> ready --> draining
                 until every reachable root had its full scan

The flow has no loop: watchers -> debouncer -> the run's thread -> jobs -> ingest -> outcome. The run acts on an outcome
by an event for the debouncer. Its thread takes debounced events and, between them and while the backlog is short, scans
directories. Any queued path may be dropped: a scan finds the file again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import structlog

from shazimd.config import Config
from shazimd.daemon.baselines import Baselines
from shazimd.daemon.comparing import Comparing
from shazimd.daemon.failures import failed_files
from shazimd.daemon.parts import Parts
from shazimd.daemon.progress import BaselineCount, log_baseline_complete
from shazimd.daemon.rescans import Rescans
from shazimd.daemon.rest import Rest
from shazimd.daemon.roots import RootConfig, Roots
from shazimd.errors import NotFound, ShazimdError, Unavailable
from shazimd.ingest.backfill import Backfill
from shazimd.ingest.collect import Collector
from shazimd.ingest.ingest import Ingest, Outcome
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.ingest.moves import apply_move, leave_out
from shazimd.ingest.patience import RemoteRoots
from shazimd.ingest.pending import PendingAlert
from shazimd.ingest.reconcile import Reconciler
from shazimd.ingest.relate import Relating
from shazimd.ingest.rules import IngestRules, MatchSettings
from shazimd.ingest.scan import Depth, Findings
from shazimd.protocol.status import RootState, ScanStatus, State
from shazimd.search.duplicates import Scoring
from shazimd.search.keep import KeepRules
from shazimd.text import path_fields, readable
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind, Stage
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher
from shazimd.workers.versions import decoders

log = structlog.get_logger()

INGESTS_PER_WORKER = 8
"""Concurrent ingests for each worker: a file is decoded, others read files or wait for a shared flush."""
INGESTS_MIN = 48
"""Files with known bytes only wait for the flush: the more share a flush, the more are stored a second."""
BACKLOG_MAX = 64
"""Scanned files that wait for ingest before the next directory is scanned: enough for all workers, small in memory."""
MODEL_WAIT_S = 120.0
"""Longest wait of a first start for its model: files decoded without a model are decoded again later. A root with a
baseline has few new files: they are stored, and their alerts wait."""
MODEL_TICK_S = 0.2
"""How often the wait for the model looks for the run's end."""
RETRY_S = 5.0
"""Delay after an internal error, before all roots are scanned again."""
TICK_S, TICK_MAX_S, FILES_PER_S = 0.05, 0.25, 1000
"""How often the backlog is checked during a scan: less often while it has more files than are handled meanwhile."""


class Run:
    def __init__(self, parts: Parts, roots: Sequence[RootConfig], config: Config) -> None:
        """``config``: what a reload applies of it is taken from here."""
        limits = config.workers
        self.scoring = Scoring(config.match.weights, config.match.threshold)
        self.keep = KeepRules.of(config.keep.prefer, [root.rules.root for root in roots if root.config.reference])
        self._library = parts.library
        self._committer = parts.committer
        self.roots = Roots(
            roots,
            parts.store,
            alert_on_baseline=config.alerts.on_baseline,
            ignores=parts.ignored.cover,
            stalling=lambda root, path: self._watchers[root].stalling(path),
        )
        self._debouncer = Debouncer({root.rules.root: root.config.settle_ms / 1000 for root in roots})
        self._watches = Watches()
        self._watchers = {root.rules.root: self._watcher(root, config.reconcile.interval_s) for root in roots}
        filters = {root.rules.root: root.rules for root in roots}
        self._reconciler = Reconciler(
            parts.store, parts.committer, filters, may_stall=self.roots.may_stall, ignores=self.roots.ignores
        )
        match = MatchSettings(config.match.threshold, config.match.weights, frozenset(config.alerts.verdicts))
        rules = IngestRules(self.roots, match, limits.max_file_mb << 20)
        library, committer, workers = parts.library, parts.committer, parts.workers
        self.ingest = Ingest(library, committer, workers, parts.search, parts.alerts, rules, parts.metrics)
        self._jobs = Jobs(max(INGESTS_MIN, INGESTS_PER_WORKER * limits.processes))
        self._rest = Rest(parts.store, self._jobs)
        self._give_up = workers.abandon_files
        remote = RemoteRoots(self.roots.stalling)
        self.backfill = Backfill(library, committer, workers, self._jobs, self.ingest.memory, remote, self._root_of)
        self.relating = Relating(library, committer, parts.comparers, remote)
        self._comparing = Comparing(self.relating, self._jobs, parts.duplicates, self.keep, self.scoring)
        self.backfill.compare = self._comparing.offer
        self._collector = Collector(parts.library, parts.committer, self._jobs, config.store.keep_deleted_s)
        new = self.roots.without_baseline
        self._progress = BaselineCount(parts.store, {r.rules.root: r.rules for r in roots if r.rules.root in new})
        self._scanning = False
        self._rescans = Rescans(self.roots.may_stall)
        self._baselines = Baselines(self.roots, self._watchers, parts.store, committer, decoders(limits))
        self._begun = False
        self._draining = threading.Event()
        self._model: threading.Event | None = None
        self._thread = threading.Thread(target=self._run, name="run", daemon=True)

    def take_over(self, before: Run) -> None:
        """Go on with the incomplete rescans of a stopped run. To be called before ``start``."""
        for path, rescan in before._rescans.unfinished(before._reconciler.confirmed()).items():
            if self.roots.of(path) is None:
                continue
            self._rescans.resume(path, rescan)
            if path not in self._watchers:  # these report their roots
                self._debouncer.put(FileEvent(Kind.TREE, path))

    def start(self, model: threading.Event | None = None) -> None:
        """Begin once ``model`` is set, or after MODEL_WAIT_S; at once if all roots have baselines. Does not block."""
        self._model = model
        self._thread.start()
        self._progress.start()
        self.backfill.start()
        self._library.loaded.add_done_callback(lambda _: self._comparing.offer())
        self._collector.start()

    def stop(self) -> None:
        """Stop the watchers and finish running ingests, but for those that take long. A scan at the next start finds
        the rest."""
        self._draining.set()
        self._progress.stop()
        self._debouncer.close()
        self._jobs.drop()
        with self._committer.giving_up_when_full():
            self._thread.join()  # before the watchers: this thread may still be starting them
            for watcher in self._watchers.values():
                watcher.stop()
            self._jobs.close(self._give_up)
        self._collector.stop()
        self._reconciler.close()

    def alive(self) -> bool:
        """Whether the run's thread and all watchers are running."""
        watchers = self._watchers.values()
        return self._thread.is_alive() and (not self._begun or all(watcher.alive() for watcher in watchers))

    @property
    def state(self) -> State:
        if self._draining.is_set():
            return "draining"
        if not self._begun:
            return "starting"
        return "ready" if self.has_baselines() else "baseline"

    def has_baselines(self) -> bool:
        """Whether the first scan of every reachable root is complete, in this run or an earlier one."""
        waiting = [self._watchers[root] for root in list(self.roots.without_baseline)]
        return all(watcher.status()["state"] == "unavailable" for watcher in waiting)

    def pending(self) -> int:
        """Number of files and directories to be compared or ingested. At 0 the store has all changes before the
        call, as far as the kernel reports them."""
        while True:
            puts = self._debouncer.puts
            pending = self._count_pending()
            if pending or puts == self._debouncer.puts:  # else a path may have gone back behind the count
                return pending

    def _count_pending(self) -> int:
        """Counted in the order of the flow: only what is put into the debouncer meanwhile can be missed."""
        unreported = sum(watcher.is_behind() for watcher in self._watchers.values())
        debounced = self._debouncer.pending()
        scanning = int(self._scanning)
        directories: int = sum(each["directories_pending"] for each in self._reconciler.progress().values())
        jobs = self._jobs.pending()
        put_off = len(self.ingest.pending)
        return unreported + debounced + max(directories, scanning) + jobs + put_off

    def root_states(self) -> list[RootState]:
        """Status of each root."""
        progress = self._reconciler.progress()
        return [self._root_status(root, watcher, progress[root]) for root, watcher in self._watchers.items()]

    def _root_status(self, root: bytes, watcher: Watcher, scan: ScanStatus) -> RootState:
        status = watcher.status()
        if scan["state"] == "unavailable" or scan["state"] == "held":
            status["state"] = scan["state"]
        return {
            **path_fields(root),
            **status,
            "reconcile": scan,
            "baseline_complete": root not in self.roots.without_baseline,
            "progress": self._progress.of(root) if root in self.roots.without_baseline else None,
            "compared_at": self._baselines.compared_at(root),
            "silent_s": self.roots.silent_s(root),
        }

    def rescan(self, path: bytes | None, *, deep: bool = False) -> None:
        """Compare a file or directory, or all roots, with the disk soon: missing files are removed without the deletion
        guard. Raises NotFound outside the roots, and for roots that are away; Unavailable for those that do not answer.

        ``deep``: every file is read, though its stat is unchanged."""
        self.ingest.retries.clear()
        depth = Depth.ALL if deep else Depth.NONE
        if path is None:
            self._rescan_roots(depth)
            return
        path = self.roots.known_path(path)
        self.roots.expect(path)
        around = self.roots.of(path)
        if around and self._rescans.place(around.rules.root) is None:
            raise _away([around.rules.root])
        is_directory = self._rescans.place(path) is not None  # before other calls, which may hang
        if is_directory or (not os.path.isfile(path) and self._has_files_below(path)):
            self._rescans.note(path, depth)
            self._debouncer.put(FileEvent(Kind.TREE, path))
        else:
            self._offer(path, Lane.LIVE, is_deep=deep)

    def _rescan_roots(self, depth: Depth) -> None:
        is_any_there = False
        failure: ShazimdError = _away(self._watchers)
        for root, watcher in self._watchers.items():
            try:
                if self._rescans.place(root) is None:
                    continue
                if watcher.is_unmounted():
                    failure = _unmounted(root)
                else:
                    self._rescans.note(root, depth)
                    is_any_there = True
            except Unavailable as error:
                failure = error
        if not is_any_there:
            raise failure
        for watcher in self._watchers.values():
            watcher.refresh()

    def _has_files_below(self, directory: bytes) -> bool:
        with suppress(ValueError), self._library.store.read() as reader:
            return next(reader.walk(directory), None) is not None
        return False  # a name longer than the store takes

    def retry(self, path: bytes | None) -> int:
        """Read the failed files, all or those at or below a path, again soon; their number."""
        self.ingest.retries.clear()
        failed = [each for each, _ in failed_files(self._library.store, path or b"/")]
        for each in failed:
            self._offer(each, Lane.BACKLOG, is_deep=True)
        return len(failed)

    def _watcher(self, root: RootConfig, interval_s: float) -> Watcher:
        return Watcher(root.config, root.rules, self._debouncer.put, self._watches, reconcile_interval_s=interval_s)

    def _run(self) -> None:
        self._wait_for_model()
        if not self._draining.is_set():
            self._begin()
        while not self._draining.is_set():
            try:
                self._turn()
            except Exception:  # the lost work is unknown: a scan of all roots finds it again
                if not self._draining.is_set():
                    log.exception("following_failed", retry_s=RETRY_S)
                for watcher in self._watchers.values():
                    watcher.refresh()
                self._draining.wait(RETRY_S)

    def _wait_for_model(self) -> None:
        if not self.roots.without_baseline:
            return
        end = time.monotonic() + MODEL_WAIT_S
        while self._model and not self._model.wait(MODEL_TICK_S) and time.monotonic() < end:
            if self._draining.is_set():
                return

    def _begin(self) -> None:
        """Start the watchers, which request the first scans: a change meanwhile is found twice rather than missed."""
        if self.roots.unbegun:
            self._committer.submit(self.roots.begin).result()
        for pending in self.ingest.pending.left():
            self._decide(pending)
        self.backfill.resume()
        for watcher in self._watchers.values():
            watcher.start()
        self._begun = True

    def _turn(self) -> None:
        put_off = len(self.ingest.pending) > 0
        busy = self._scanning or put_off or self._baselines.are_due()
        moves: list[Future[None]] = []
        tick_s = TICK_S if put_off else min(max(TICK_S, self._jobs.pending() / FILES_PER_S), TICK_MAX_S)
        events = self._debouncer.take(tick_s if busy else self._rest.after_s)
        if events or busy:
            self._rest.end()
        else:
            self._rest.begin()
        for event in events:
            if event.kind is Kind.MOVED:
                moves.append(self._move(event))
            else:
                _wait(moves)
                self._handle(event)
        _wait(moves)
        for pending, is_last in self.ingest.pending.due(is_scanning=self._scanning, is_behind=self._is_behind()):
            self._decide(pending, is_last=is_last)
        self._scan()
        if not self._jobs.pending(Lane.BACKLOG) and not self._draining.is_set():  # in this order: a stop drops jobs
            if not self._scanning:
                self._rescans.complete()
            for root in self._baselines.completed():
                self._jobs.offer(("baseline", root), partial(self._sum_up_baseline, root), Lane.LIVE)

    def _sum_up_baseline(self, root: bytes) -> None:
        log_baseline_complete(self._library.store, root)
        self._comparing.sum_up()

    def _move(self, event: FileEvent) -> Future[None]:
        """Apply a rename to the store. Consecutive renames share a commit; other events wait for the commit."""
        old, new = event.old, event.path
        assert old is not None
        apply = leave_out if self.roots.ignores(new) else partial(apply_move, new=new)
        return self._committer.submit(lambda writer: apply(writer, old))

    def _handle(self, event: FileEvent) -> None:
        if event.kind is Kind.TREE:
            asked, confirmed = self._rescans.take(event.path)
            if confirmed and event.path in self._watchers:
                self._watchers[event.path].accept_mount()
            depth = Depth.FAILED if self._baselines.retries_failed and event.path in self._watchers else Depth.NONE
            self._reconciler.request(event.path, confirmed=confirmed, depth=max(asked, depth))
            self._scanning = True
        else:
            lane = Lane.BACKLOG if self._baselines.settle(event.path) else Lane.LIVE
            self._offer(event.path, lane, deleted=event.stage is Stage.GONE)

    def _offer(self, path: bytes, lane: Lane, *, deleted: bool = False, is_deep: bool = False) -> None:
        if self.roots.admits(path):
            work = partial(self._ingest_file, path, deleted=deleted, is_deep=is_deep)
            self._jobs.offer(path, work, lane, self.roots.stalling(path))

    def _root_of(self, path: bytes) -> bytes | None:
        around = self.roots.of(path)
        return around.rules.root if around else None

    def _ingest_file(self, path: bytes, *, deleted: bool, is_deep: bool) -> None:
        """A job: ingest a file and act on the outcome."""
        outcome = self.ingest.ingest(path, deleted=deleted, is_deep=is_deep)
        self.backfill.resume()
        if self.roots.without_baseline and outcome in (Outcome.STORED, Outcome.FAILED, Outcome.OTHER_NAMES):
            around = self.roots.of(path)
            self._progress.note(around.rules.root if around else path)
        if self.roots.ignores(path):  # since the job was offered
            self._committer.submit(lambda writer: leave_out(writer, path)).result()
        if outcome in (Outcome.STORED, Outcome.OTHER_NAMES, Outcome.PUT_OFF):
            self._comparing.offer()
        if outcome is Outcome.UNSETTLED:
            self._debouncer.put(FileEvent(Kind.FILE, path))
        elif outcome is Outcome.MISSING:
            self._debouncer.put(FileEvent(Kind.TREE, os.path.dirname(path)))
        elif outcome is Outcome.OTHER_NAMES:
            for root in self._watchers:
                self._debouncer.put(FileEvent(Kind.TREE, root))
        elif outcome is Outcome.PUT_OFF:
            self._look_for_missing()
        elif outcome is Outcome.POSTPONED:
            self._debouncer.put(FileEvent(Kind.FILE, path), after_s=self.ingest.retries.delay_s(path))

    def _decide(self, pending: PendingAlert, *, is_last: bool = False) -> None:
        """Have a job decide on an alert, under a key of its own: the path may be ingested as well."""
        work = partial(self._decide_alert, pending, is_last=is_last)
        self._jobs.offer(("pending alert", pending.number), work, Lane.LIVE, self.roots.stalling(pending.path))

    def _decide_alert(self, pending: PendingAlert, *, is_last: bool) -> None:
        if not self.ingest.pending.decide(pending, is_last=is_last):
            self._look_for_missing()

    def _look_for_missing(self) -> None:
        for directory in self.ingest.pending.directories():
            if self.roots.of(directory):  # else of a root that is watched no more
                self._debouncer.put(FileEvent(Kind.TREE, directory))
        self._debouncer.wake()  # the run's thread may wait without a limit

    def _scan(self) -> None:
        """Scan directories until the backlog is long enough, or an event is due."""
        while self._scanning and self._jobs.pending() < BACKLOG_MAX and not self._draining.is_set():
            findings = self._reconciler.step(is_behind=self._is_behind())
            if findings is None:
                self._scanning = False
                return
            if findings.waiting:
                return
            self._ingest_found(findings)

    def _is_behind(self) -> bool:
        """Whether events or found files wait: they may explain missing files."""
        return self._watches.is_behind() or len(self._debouncer) > 0 or self._jobs.pending() > 0

    def _ingest_found(self, findings: Findings) -> None:
        delayed = {path for path in findings.look if self._debouncer.holds(path)}  # still written, perhaps
        for path in findings.look:
            if path not in delayed:
                self._offer(path, Lane.BACKLOG, is_deep=findings.depth > Depth.NONE)
        self._baselines.note(findings, delayed)
        if findings.completed is not None:
            self._baselines.drop_lost(findings.completed, self._debouncer.holds)
            self.backfill.try_again(findings.completed)
            self._comparing.try_again()
        for path in findings.unsettled:
            self._debouncer.put(FileEvent(Kind.FILE, path))


def _away(roots: Iterable[bytes]) -> NotFound:
    names = ", ".join(map(readable, roots))
    return NotFound(f"{names}: not there; known images stay, until: shazimctl forget PATH")


def _unmounted(root: bytes) -> NotFound:
    reason = "its disk is not mounted; if its files lie in the directory now: shazimctl rescan PATH"
    return NotFound(f"{readable(root)}: {reason}")


def _wait(moves: list[Future[None]]) -> None:
    for move in moves:
        move.result()
    moves.clear()

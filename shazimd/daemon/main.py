"""`shazimd`: builds the rooms from the bottom up, starts them, waits, and stops them in reverse order.

The one place that knows every room.
"""

from __future__ import annotations

import os

# OpenBLAS reads this when numpy loads it. Searches have threads of their own; its idle ones would take 40 MB of address
# space for each processor, and make a search on a busy machine wait for all of them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from shazimd import __version__, config, paths
from shazimd.client import Client
from shazimd.config import Config, WatchConfig
from shazimd.daemon.run import Daemon, Roots, WatchedRoot
from shazimd.daemon.service import DaemonService
from shazimd.errors import ConfigError, ShazimdError
from shazimd.index.base import Index
from shazimd.index.cascade import CascadeIndex
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.backfill import Backfill
from shazimd.ingest.collect import Collector
from shazimd.ingest.commit import Committer
from shazimd.ingest.ingest import Ingest, MatchSettings, RootPolicy
from shazimd.ingest.lanes import Jobs
from shazimd.ingest.reconcile import Reconciler
from shazimd.models.model import ModelInfo
from shazimd.models.provision import Provision
from shazimd.models.registry import Registry
from shazimd.posix import memory
from shazimd.posix.mounts import is_at_or_below
from shazimd.posix.notify import Notifier
from shazimd.protocol import ReloadReply, Status
from shazimd.search.duplicates import Duplicates
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import bind_socket, systemd_sockets
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.telemetry import log
from shazimd.telemetry.metrics import Metrics
from shazimd.types import FileState
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher
from shazimd.words.packing import VERSION
from shazimd.workers.jobs import verify_all
from shazimd.workers.pool import WorkerPool

logger = structlog.get_logger()

ANSWER_TIMEOUT_S = 10.0
"""How long the daemon may take to answer itself; a third of WatchdogSec in the unit."""

FILES_AT_ONCE = 8
"""Files on their way, for each worker: one decoded, others read, or lingering for a shared flush."""
MODEL_PATIENCE_S = 120.0
"""How long a first start waits for its model: what is fingerprinted without one is decoded once more when it comes."""

RESTART_NEEDED = ("store", "server", "workers", "model")
"""Tables that a reload leaves as they were."""

EXAMPLES = """\
examples:
  shazimd ~/Pictures                      watch a folder, log to the terminal
  shazimd --config /etc/shazimd/config.toml

Ask it with shazimctl; stop it with Ctrl-C or SIGTERM.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 stopped as asked, 2 usage or config, 5 could not go on."""
    options = parser().parse_args(arguments)
    log.configure(options.log_format, options.log_level)
    try:
        run(lambda: settings(options))
    except ShazimdError as error:
        logger.critical("stopped", code=error.code, reason=str(error))
        return error.exit_status
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shazimd",
        description="Watches directories and tells, the moment an image lands, whether you have had it before.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dirs", metavar="DIR", nargs="*", help="a directory to watch, besides those of the config")
    parser.add_argument("--config", metavar="FILE", help="default: $SHAZIMD_CONFIG, else /etc/shazimd/config.toml")
    parser.add_argument("--store", metavar="DIR", help="where fingerprints are kept")
    parser.add_argument("--socket", metavar="PATH", help="where shazimctl asks")
    parser.add_argument("--model", metavar="HANDLE", help='a TF Hub handle, a SavedModel directory, or "none"')
    parser.add_argument("--log-format", choices=["auto", "console", "json"], default="auto")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--version", action="version", version=f"shazimd {__version__}")
    return parser


def settings(options: argparse.Namespace) -> Config:
    """The config file with what the command line adds. Raises ConfigError."""
    path = options.config or paths.config_file()
    loaded = config.load(path) if path else Config()
    watched = (*loaded.watch, *(WatchConfig(path=directory) for directory in options.dirs))
    replace = msgspec.structs.replace
    return replace(
        loaded,
        watch=watched,
        store=replace(loaded.store, path=options.store or loaded.store.path or paths.store_directory()),
        server=replace(loaded.server, socket=options.socket or loaded.server.socket),
        model=replace(loaded.model, handle=options.model or loaded.model.handle),
    )


def run(read_settings: Callable[[], Config]) -> None:
    """Be the daemon until SIGTERM or SIGINT; SIGHUP reads the settings again. Raises ShazimdError for no start."""
    memory.return_freed_memory()
    settings = read_settings()
    watched = _watched(settings.watch)
    stop = _stop_on_signals()
    notifier = Notifier()
    with ExitStack() as rooms:
        service, start = _build(settings, watched, read_settings, rooms)
        listeners = systemd_sockets() or [_bind(settings)]
        server = Server(create_app(service, max_body_bytes=settings.workers.max_file_mb << 20), *listeners)
        rooms.callback(server.stop)
        server.start()
        start()
        _reload_on_hangup(service)
        logger.info(
            "started",
            version=__version__,
            socket=listeners[0].getsockname(),
            store=settings.store.path,
            roots=[os.fsdecode(rules.root) for _, rules in watched],
        )
        notifier.ready(_in_words(service.status()))
        _attend(stop, notifier, service, Client(listeners[0].getsockname(), timeout_s=ANSWER_TIMEOUT_S))
        notifier.stopping("finishing the work in hand")
        logger.info("stopping")
    logger.info("stopped")


def _attend(stop: threading.Event, notifier: Notifier, service: DaemonService, client: Client) -> None:
    """Until told to stop, tell the service manager how it is, and that it lives as long as the work really goes on:
    the daemon's threads run, and a question over the socket is answered."""
    while not stop.wait(notifier.watchdog_interval_s):
        if fault := _fault(service, client):
            logger.error("unresponsive", reason=fault)
        else:
            notifier.alive()
            notifier.status(_in_words(service.status()))


def _fault(service: DaemonService, client: Client) -> str | None:
    try:
        client.status()
    except ShazimdError as error:
        return str(error)
    return None if service.alive() else "a thread that watches or follows has ended"


def _in_words(status: Status) -> str:
    """One line for `systemctl status`."""
    waiting = f", {status['pending']} waiting" if status["pending"] else ""
    return f"{status['state']}: {status['images']} images in {len(status['roots'])} directories{waiting}"


class _Lasting(NamedTuple):
    """The rooms that a reload leaves as they are."""

    store: Store
    pool: WorkerPool
    library: Library
    alerts: Alerts
    committer: Committer
    search: Search
    duplicates: Duplicates
    metrics: Metrics


class _Run(NamedTuple):
    """What watches and takes in, by one reading of the settings; a reload puts another in its place."""

    daemon: Daemon
    backfill: Backfill
    collector: Collector
    terms: MatchSettings

    def start(self, after: Callable[[], object] = lambda: None) -> None:
        self.daemon.start(after)
        self.backfill.start()
        self.collector.start()


def _build(
    settings: Config,
    watched: list[tuple[WatchConfig, Filter]],
    read_settings: Callable[[], Config],
    rooms: ExitStack,
) -> tuple[DaemonService, Callable[[], None]]:
    """Make every room and say how it is closed, in reverse order; the service, and what starts the run."""
    assert settings.store.path is not None
    store = rooms.enter_context(closing(open_store(settings.store.path, settings.store.map_size_gb << 30, VERSION)))
    workers = settings.workers
    limits = workers.processes, workers.memory_mb, workers.timeout_s, workers.max_pixels
    pool = rooms.enter_context(WorkerPool(*limits, features=settings.match.verify))
    provision = Provision(Registry(os.path.join(settings.store.path, "models")), settings.model.handle)
    library = rooms.enter_context(closing(Library(store, _open_index, provision.installed())))
    alerts = rooms.enter_context(closing(Alerts(store)))
    committer = rooms.enter_context(closing(Committer(store)))
    verify = partial(pool.submit, verify_all) if settings.match.verify else None
    search, duplicates, metrics = Search(library, verify), Duplicates(library, verify), Metrics()
    lasting = _Lasting(store, pool, library, alerts, committer, search, duplicates, metrics)
    current = _build_run(settings, watched, lasting)

    def use(model: ModelInfo) -> None:
        library.use_model(model)
        logger.info("model_in_use", model=model.id, handle=model.source)
        current.backfill.start()

    def start() -> None:
        rooms.callback(lambda: current.daemon.stop())
        rooms.callback(provision.stop)
        if library.model is None:
            provision.start(use)
        current.start(after=lambda: provision.first_try.wait(MODEL_PATIENCE_S))

    def reload() -> ReloadReply:
        nonlocal current
        new = read_settings()
        following = _build_run(new, _watched(new.watch), lasting)
        current.daemon.stop()
        current = following
        service.use(current.daemon, current.terms)
        current.start()
        restart_needed = [table for table in RESTART_NEEDED if getattr(new, table) != getattr(settings, table)]
        roots = [root["path"] for root in current.daemon.roots()]
        logger.info("reloaded", roots=roots, restart_needed=restart_needed)
        return {"roots": roots, "restart_needed": restart_needed}

    service = DaemonService(
        current.daemon, library, search, pool, committer, alerts, provision, metrics, duplicates, current.terms, reload
    )
    return service, start


def _build_run(settings: Config, watched: list[tuple[WatchConfig, Filter]], lasting: _Lasting) -> _Run:
    store, pool, library, alerts, committer, search, duplicates, metrics = lasting
    terms = MatchSettings(settings.match.threshold, settings.match.weights, frozenset(settings.alerts.verdicts))
    roots = Roots(watched, store, alert_on_baseline=settings.alerts.on_baseline)
    debouncer = Debouncer({rules.root: config.settle_ms / 1000 for config, rules in watched})
    jobs = Jobs(threads=FILES_AT_ONCE * settings.workers.processes)

    def compare_all() -> None:
        for _, rules in watched:
            debouncer.put(FileEvent(Kind.TREE, rules.root))

    ingest = Ingest(
        library,
        committer,
        pool,
        search,
        alerts,
        RootPolicy(roots.silent, roots.follows_symlinks),
        terms,
        metrics,
        max_file_bytes=settings.workers.max_file_mb << 20,
        unsettled=lambda path: debouncer.put(FileEvent(Kind.FILE, path)),
        missing=lambda path: debouncer.put(FileEvent(Kind.TREE, os.path.dirname(path))),
        linked=compare_all,
    )
    watches = Watches()
    daemon = Daemon(
        roots,
        [
            WatchedRoot(
                config,
                rules,
                Watcher(config, rules, debouncer.put, watches, reconcile_interval_s=settings.reconcile.interval_s),
            )
            for config, rules in watched
        ],
        debouncer,
        Reconciler(
            store,
            {rules.root: rules for _, rules in watched},
            is_behind=lambda: watches.is_behind() or len(debouncer) > 0 or jobs.pending() > 0,
        ),
        ingest,
        jobs,
        committer,
        on_baseline=lambda root: _sum_up(root, library, duplicates, terms),
    )
    features_version = VERSION if settings.match.verify else None
    backfill = Backfill(library, committer, pool, jobs, features_version)
    return _Run(daemon, backfill, Collector(library, committer, jobs, settings.store.keep_deleted_s), terms)


def _open_index(store: Store, model: str | None) -> Index:
    """The index beside the store, in step with it."""
    with store.read() as reader:
        return CascadeIndex.open(os.path.join(store.info()["path"], "index"), reader, model)


def _sum_up(root: bytes, library: Library, duplicates: Duplicates, terms: MatchSettings) -> None:
    """One line for all that a baseline found. Grouping takes a while, and nothing waits for it."""

    def run() -> None:
        with library.store.read() as reader:
            images = sum(row.state is FileState.INDEXED for _, row in reader.walk(root))
        groups = duplicates.groups(terms.weights, terms.threshold)
        here = sum(any(is_at_or_below(member.path, root) for member in group) for group in groups)
        logger.info("baseline_complete", path=root, images=images, duplicate_groups=here)

    threading.Thread(target=run, name="sum-up", daemon=True).start()


def _watched(watch: Sequence[WatchConfig]) -> list[tuple[WatchConfig, Filter]]:
    """The roots with their rules. Raises ConfigError when there is none, or one is no directory."""
    if not watch:
        raise ConfigError("no directory to watch: give one on the command line, or [[watch]] path in the config")
    watched = {rules.root: (config, rules) for config, rules in ((config, Filter(config)) for config in watch)}
    for root in watched:
        if os.path.lexists(root) and not os.path.isdir(root):
            raise ConfigError(f"{os.fsdecode(root)}: not a directory")
        for outer in watched:
            if root != outer and is_at_or_below(root, outer):
                raise ConfigError(f"{os.fsdecode(root)}: lies in {os.fsdecode(outer)}, expected roots side by side")
    return list(watched.values())


def _bind(settings: Config) -> socket.socket:
    path = settings.server.socket or paths.listening_socket()
    return bind_socket(path, int(settings.server.mode, 8), settings.server.group)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _reload_on_hangup(service: DaemonService) -> None:
    def reload() -> None:
        try:
            service.reload()
        except ShazimdError as error:
            reason = str(error)
        else:
            return
        logger.error("reload_failed", reason=reason, in_force="the settings from before")

    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload, name="reload").start())


if __name__ == "__main__":
    sys.exit(main())

"""The daemon as an object: its lasting parts, and the current run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

import structlog
from msgspec import structs

from shazimd import paths
from shazimd.config import Config
from shazimd.daemon.ignored import IgnoredPaths
from shazimd.daemon.parts import Parts
from shazimd.daemon.roots import check_presence, configured_roots
from shazimd.daemon.run import Run
from shazimd.errors import Unavailable
from shazimd.index.base import Index
from shazimd.index.cascade import CascadeIndex
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.foreign import ForeignFiles
from shazimd.ingest.relate import Comparers, renew_relations
from shazimd.ingest.sharing import begin_sharing
from shazimd.models.model import ModelInfo
from shazimd.models.provision import Provision
from shazimd.models.registry import Registry
from shazimd.protocol import ReloadReply
from shazimd.search.duplicates import Duplicates
from shazimd.search.fetching import WantedFeatures
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.telemetry.metrics import Metrics
from shazimd.types import Digest
from shazimd.words.packing import VERSION
from shazimd.workers import jobs
from shazimd.workers.pool import Verifier, WorkerPool

log = structlog.get_logger()

RESTART_NEEDED = ("cluster", "store", "server", "workers", "model")
"""Tables not applied by a reload."""


class App:
    """``start``, then any number of ``reload``, then ``stop`` and ``close``."""

    def __init__(self, config: Config, read_config: Callable[[], Config]) -> None:
        """Open the store and start the workers. Raises ShazimdError, and then all is closed again.

        ``read_config`` reads the configuration again, for a reload."""
        roots = configured_roots(config.watch)
        self._config = config
        self._read_config = read_config
        self._reloading = threading.Lock()
        self._stopped = False
        with ExitStack() as opened:
            assert config.store.path is not None
            models = Registry(os.path.join(config.store.path, "models"))
            self.provision = Provision(models, config.model.handle, staged=paths.staged_models())
            self._parts = parts = _open_parts(config, self.provision, opened)
            check_presence(roots, parts.store)
            self.store, self.workers, self.library = parts.store, parts.workers, parts.library
            self.alerts, self.committer, self.metrics = parts.alerts, parts.committer, parts.metrics
            verifies, keeps = config.match.verify, _keeps_features(config)
            self.foreign = ForeignFiles(
                parts.library, parts.committer, config.cluster.host, keeps_features=verifies and keeps
            )
            self.wanted = WantedFeatures()
            self.fetches = verifies and not keeps
            """whether searches must have local features brought that are not kept here"""
            self.search, self.duplicates, self.ignored = parts.search, parts.duplicates, parts.ignored
            self.run = Run(parts, roots, config)
            self._opened = opened.pop_all()

    def start(self) -> None:
        """Start the run, and the installation of a missing model; returns at once."""
        if self.library.model is None:
            self.provision.start(self._use_model)
        self.run.start(self.provision.first_try)

    def reload(self) -> ReloadReply:
        """Start a new run with the present configuration. Raises ConfigError, and then nothing has changed; Unavailable
        once stopped."""
        with self._reloading:
            if self._stopped:
                raise Unavailable("the daemon stops")
            read = self._read_config()
            restart_needed, config = self._restart_needed(read), self._until_restart(read)
            roots_now = configured_roots(config.watch)
            check_presence(roots_now, self.store)
            following = Run(self._parts, roots_now, config)
            try:
                self.run.stop()
                following.take_over(self.run)
            finally:  # a fault while stopping must not leave the daemon without a run
                self.run = following
                self.run.start(self.provision.first_try)
            self._config = structs.replace(self._config, hook=read.hook)
            roots = [root["path"] for root in self.run.root_states()]
        log.info("reloaded", roots=roots, restart_needed=restart_needed)
        return {"roots": roots, "restart_needed": restart_needed}

    def alive(self) -> bool:
        """Whether the threads of the run and the library are alive; during a reload they may be between two runs."""
        return self._reloading.locked() or (self.run.alive() and self.library.alive())

    def stop(self) -> None:
        """Stop the run; queries are answered until ``close``."""
        self.provision.stop()
        with self._reloading:
            self._stopped = True
            self.run.stop()

    def close(self) -> None:
        """Write the queued operations, and close the parts."""
        self._opened.close()

    def _restart_needed(self, config: Config) -> list[str]:
        tables = [table for table in RESTART_NEEDED if getattr(config, table) != getattr(self._config, table)]
        if config.match.verify != self._config.match.verify:
            tables.append("match.verify")  # the workers extract local features or not from their start
        if config.hook != self._config.hook:
            tables.append("hook")  # once: their process may have been restarted by the next reload
        return tables

    def _until_restart(self, config: Config) -> Config:
        """The configuration with the values of the start where others take a restart: the parts have those."""
        kept = {table: getattr(self._config, table) for table in RESTART_NEEDED}
        match = structs.replace(config.match, verify=self._config.match.verify)
        return structs.replace(config, match=match, **kept)

    def _use_model(self, model: ModelInfo) -> None:
        self.library.use_model(model)
        log.info("model_in_use", model=model.id, handle=model.source)
        self.run.backfill.start()


def _open_parts(config: Config, provision: Provision, opened: ExitStack) -> Parts:
    """Open the parts in an order in which each may use those before, and be closed before them."""
    assert config.store.path is not None
    model = provision.installed()
    store = opened.enter_context(closing(open_store(config.store.path, config.store.map_size_gb << 30, VERSION)))
    keeps = config.match.verify and _keeps_features(config)
    store.write(lambda writer: begin_sharing(writer, config.cluster.host is not None, keeps_features=keeps))
    if config.match.verify:
        renew_relations(store)
    limits = config.workers
    workers = opened.enter_context(
        WorkerPool(
            limits.processes,
            limits.memory_mb,
            limits.timeout_s,
            limits.max_pixels,
            features=config.match.verify,
            model=model,
            spare=True,
        )
    )
    version = VERSION if config.match.verify else None
    library = opened.enter_context(closing(Library(store, _open_index, model, provision.will_come, version)))
    committer = opened.enter_context(closing(Committer(store)))
    alerts = opened.enter_context(closing(Alerts(store, committer)))
    failed: set[Digest] = set()
    verify = Verifier(workers.submit, failed) if config.match.verify else None
    comparers = _comparers(workers, limits.max_pixels, failed) if config.match.verify else None
    search = Search(library, verify, comparers.verify if comparers else None)
    duplicates = Duplicates(library, verified=config.match.verify)
    return Parts(
        store,
        workers,
        library,
        alerts,
        committer,
        search,
        duplicates,
        Metrics(),
        IgnoredPaths(store, committer),
        comparers,
    )


def _keeps_features(config: Config) -> bool:
    return config.cluster.features == "keep"


def _comparers(workers: WorkerPool, max_pixels: int, failed: set[Digest]) -> Comparers:
    later = workers.submit_later
    return Comparers(
        Verifier(later, failed),
        lambda asked, known, mapping: later(jobs.lineage, asked, known, mapping, max_pixels),
        lambda data: later(jobs.picture_facts, data, max_pixels),
    )


def _open_index(store: Store, model_id: str | None) -> Index:
    """The index beside the store, up to date with the store."""
    with store.read() as reader:
        return CascadeIndex.open(os.path.join(store.info()["path"], "index"), reader, model_id)

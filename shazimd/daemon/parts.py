"""The parts of the daemon that a reload keeps, and the settings that it replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shazimd.config import Config
from shazimd.daemon.ignored import IgnoredPaths
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.relate import Comparers
from shazimd.ingest.rules import MatchSettings
from shazimd.search.duplicates import Duplicates
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store
from shazimd.telemetry.metrics import Metrics
from shazimd.words.packing import VERSION
from shazimd.workers.pool import WorkerPool
from shazimd.workers.versions import decoder_versions

INGESTS_PER_WORKER = 8
"""Concurrent ingests for each worker: a file is decoded, others read files or wait for a shared flush."""
INGESTS_MIN = 48
"""Files with known bytes only wait for the flush: the more share a flush, the more are stored a second."""


class Parts(NamedTuple):
    """The parts of the daemon kept by a reload."""

    store: Store
    workers: WorkerPool
    library: Library
    alerts: Alerts
    committer: Committer
    search: Search
    duplicates: Duplicates
    metrics: Metrics
    ignored: IgnoredPaths
    comparers: Comparers | None
    """comparison in the background; None where the score alone counts"""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings applied by a reload."""

    match: MatchSettings
    alert_on_baseline: bool
    scan_interval_s: float
    threads: int
    max_file_bytes: int
    keep_deleted_s: float
    prefer: tuple[str, ...]
    """rules for the file of a group to keep"""
    features_version: int | None
    """version of the local features; None if the workers make none"""
    decoders: str
    """versions and limits of the decoders: when they change, failed files are tried again"""

    @classmethod
    def of(cls, config: Config) -> RunSettings:
        limits = config.workers
        return cls(
            MatchSettings(config.match.threshold, config.match.weights, frozenset(config.alerts.verdicts)),
            config.alerts.on_baseline,
            config.reconcile.interval_s,
            max(INGESTS_MIN, INGESTS_PER_WORKER * limits.processes),
            limits.max_file_mb << 20,
            config.store.keep_deleted_s,
            config.keep.prefer,
            VERSION if config.match.verify else None,
            f"{decoder_versions()}; {limits.max_file_mb} MB, {limits.max_pixels} pixels, {limits.memory_mb} MB, "
            f"{limits.timeout_s} s",
        )

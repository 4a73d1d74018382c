"""The parts of the daemon that a reload keeps."""

from __future__ import annotations

from typing import NamedTuple

from shazimd.daemon.ignored import IgnoredPaths
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.relate import Comparers
from shazimd.search.duplicates import Duplicates
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store
from shazimd.telemetry.metrics import Metrics
from shazimd.workers.pool import WorkerPool


class Parts(NamedTuple):
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

"""Prometheus metrics.

Counters and histograms grow with each event. Gauges are taken from the daemon's status at each rendering, to agree with
it. Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shazimd.protocol.status import Status
from shazimd.types import Verdict

# From known bytes (milliseconds) to the time limit of a worker, 60 s.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATES = ("starting", "baseline", "ready", "draining")
_USER_WATCHES_MAX = Path("/proc/sys/fs/inotify/max_user_watches")


class Metrics:
    """The daemon's metrics. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._image_s = self._histogram("image", "Time from reading an image file to storing it", ["decoded"])
        self.query_s = self._histogram("query", "Time to answer find and compare, decoding included", ["verb"])
        self._failures = self._counter("image_failures", "Image files that could not be ingested", ["code"])
        self._alerts = self._counter("alerts", "Alerts raised", ["verdict"])
        for verdict in Verdict:  # a series that begins at 0 lets the first alert show in increase()
            self._alerts.labels(verdict)

    def image_stored(self, seconds: float, *, decoded: bool) -> None:
        """Count an ingested image file; ``decoded`` is False for known bytes."""
        self._image_s.labels("yes" if decoded else "no").observe(seconds)

    def image_failed(self, code: str) -> None:
        """Count a failed image file; ``code`` is the error's."""
        self._failures.labels(code).inc()

    def alert_told(self, verdict: str) -> None:
        self._alerts.labels(verdict).inc()

    def render(self, status: Status) -> bytes:
        """All metrics in the text format, version 0.0.4."""
        gauges = CollectorRegistry()
        gauges.register(_Gauges(status))
        return generate_latest(self._registry) + generate_latest(gauges)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, namespace="shazimd", registry=self._registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(
            f"{name}_duration_seconds", text, labels, namespace="shazimd", registry=self._registry, buckets=_SECONDS
        )


class _Gauges(Collector):
    """Metrics of a status."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        for key, (name, text) in _FROM_STATUS.items():
            yield _gauge(name, text, {(): status[key]})
        yield _gauge("store_size_bytes", "Size of the store on the disk", {(): status["store"]["size_bytes"]})
        yield _gauge("store_faulty", "1 while the store can't be written", {(): bool(status["store"]["fault"])})
        yield _gauge("inotify_watches_max", "inotify watches that one user may have", {(): _user_watches_max()})
        model = status["model"]["id"] or "none"
        yield _gauge("info", "1, with the versions", {(status["version"], model): 1}, ["version", "model"])
        states = {(state,): state == status["state"] for state in _STATES}
        yield _gauge("state", "1 for the state that the daemon is in", states, ["state"])
        for field, (name, text) in _FROM_ROOTS.items():
            values = {(root["path"], root["mode"]): root[field] or 0 for root in status["roots"]}
            yield _gauge(name, text, values, ["root", "mode"])
        yield self._overflows()
        yield _gauge("foreign_images", "Image files of other hosts", {(): status.get("foreign", 0)})
        if cluster := status.get("cluster"):
            for number, (name, text) in _FROM_CLUSTER.items():
                value = cluster[number]
                yield _gauge(name, text, {(): float("nan") if value is None else value})

    def _overflows(self) -> Metric:
        family = CounterMetricFamily(
            "shazimd_watch_overflows", "Times that events of a root were lost, each followed by a scan", labels=["root"]
        )
        for root in self._status["roots"]:
            family.add_metric([root["path"]], root["overflows"])
        return family


def _gauge(name: str, text: str, values: Mapping[Any, float], labels: Sequence[str] = ()) -> Metric:
    """A gauge family; the keys of ``values`` are label values."""
    family = GaugeMetricFamily(f"shazimd_{name}", text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, float(value))
    return family


_StatusCount = Literal["images", "contents", "pending", "failed", "uptime_s", "rss_bytes"]
_FROM_STATUS: dict[_StatusCount, tuple[str, str]] = {
    "images": ("images", "Image files known"),
    "contents": ("contents", "Different contents known"),
    "pending": ("pending", "Files waiting to be ingested"),
    "failed": ("failed", "Image files that could not be ingested and have not changed since"),
    "uptime_s": ("uptime_seconds", "Time since the daemon started"),
    "rss_bytes": ("resident_memory_bytes", "Resident memory of the daemon, its workers not included"),
}
_ClusterNumber = Literal["owed", "tell_lag_s", "behind", "follow_lag_s", "undecided"]
_FROM_CLUSTER: dict[_ClusterNumber, tuple[str, str]] = {
    "owed": ("cluster_owed", "Changes that the link has not told other hosts yet"),
    "tell_lag_s": ("cluster_tell_lag_seconds", "Time since other hosts were told of all changes"),
    "behind": ("cluster_behind", "Changes of other hosts that the link has not brought yet"),
    "follow_lag_s": ("cluster_follow_lag_seconds", "Time since all changes of other hosts were here"),
    "undecided": ("cluster_undecided", "Alerts still to be decided, those about other hosts with them"),
}
"""NaN before the link has said anything."""
_RootNumber = Literal["watched_dirs", "unwatched_dirs", "unreadable_dirs", "compared_at"]
_FROM_ROOTS: dict[_RootNumber, tuple[str, str]] = {
    "watched_dirs": ("watched_directories", "Directories watched"),
    "unwatched_dirs": ("unwatched_directories", "Directories over the inotify limit, which are polled"),
    "unreadable_dirs": ("unreadable_directories", "Directories that the daemon may not read"),
    "compared_at": ("last_reconcile_timestamp_seconds", "End of the last full scan; 0 for none yet"),
}


def _user_watches_max() -> float:
    """NaN if the kernel has no inotify."""
    try:
        return float(_USER_WATCHES_MAX.read_text())
    except OSError:
        return float("nan")

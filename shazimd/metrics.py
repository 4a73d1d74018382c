"""What is counted, in the Prometheus text format, for ``GET /metrics`` and for node_exporter's textfile collector.

What happens is counted as it happens; what is so now is taken from the daemon's status at each rendering, so the two
never tell different stories. Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shazimd.protocol import Status

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATES = ("starting", "baseline", "ready", "draining")
_VERDICTS = ("exact", "copy", "scene", "similar")
_USER_WATCHES_MAX = Path("/proc/sys/fs/inotify/max_user_watches")


class Metrics:
    """Counts from many threads; one object for the whole daemon."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._image_s = self._histogram("image", "Time from reading an image file to its being stored", ["decoded"])
        self._query_s = self._histogram("query", "Time to answer find and compare, decoding included", ["verb"])
        self._failures = self._counter("image_failures", "Image files that could not be taken in", ["code"])
        self._alerts = self._counter("alerts", "Alerts told", ["verdict"])
        self._overflows = self._counter("watch_overflows", "Losses of events in the kernel's queue")
        self._reconciles = self._counter("reconciles", "Complete comparisons of the store with the disk")
        self._reconciled_at = self._gauge("last_reconcile_timestamp_seconds", "End of the last complete comparison")
        self._counts = {key: self._gauge(name, text) for key, (name, text) in _FROM_STATUS.items()}
        self._store_bytes = self._gauge("store_size_bytes", "Size of the store on the disk")
        self._state = self._gauge("state", "1 for the state that the daemon is in", ["state"])
        self._watches = self._gauge("watched_directories", "Directories watched, by root", ["root", "mode"])
        self._watches_max = self._gauge("inotify_watches_max", "inotify watches that one user may have on this machine")
        self._info = self._gauge("info", "1, with the versions of the daemon and of its model", ["version", "model"])
        for verdict in _VERDICTS:  # a series that begins at 0 lets the first alert show in increase()
            self._alerts.labels(verdict)

    def image_stored(self, seconds: float, *, decoded: bool) -> None:
        """An image file was taken in; ``decoded`` is False when its bytes were known."""
        self._image_s.labels("yes" if decoded else "no").observe(seconds)

    def image_failed(self, code: str) -> None:
        """An image file could not be taken in; ``code`` is that of the error."""
        self._failures.labels(code).inc()

    def alert_told(self, verdict: str) -> None:
        self._alerts.labels(verdict).inc()

    def query_answered(self, verb: str, seconds: float) -> None:
        """``verb`` is "find" or "compare"."""
        self._query_s.labels(verb).observe(seconds)

    def events_lost(self) -> None:
        self._overflows.inc()

    def reconciled(self) -> None:
        """Every root was compared with the disk to the end."""
        self._reconciles.inc()
        self._reconciled_at.set(time.time())

    def render(self, status: Status) -> bytes:
        """All metrics in the text format, version 0.0.4, with what is so now."""
        self._take(status)
        return generate_latest(self._registry)

    def write_textfile(self, path: str, status: Status) -> None:
        """Put the metrics where node_exporter's textfile collector reads them; a reader never sees half a file.

        Raises OSError."""
        folder = os.path.dirname(path) or "."
        descriptor, partial = tempfile.mkstemp(dir=folder, prefix=".shazimd-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.render(status))
                os.fchmod(file.fileno(), 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise

    def _take(self, status: Status) -> None:
        for key, gauge in self._counts.items():
            gauge.set(status[key])
        self._store_bytes.set(status["store"].get("size_bytes", 0))
        for state in _STATES:
            self._state.labels(state).set(state == status["state"])
        self._watches.clear()
        for root in status["roots"]:
            self._watches.labels(root["path"], root["mode"]).set(root["watched_dirs"])
        self._watches_max.set(_user_watches_max())
        self._info.clear()
        self._info.labels(status["version"], str(status["model"].get("id") or "none")).set(1)

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(name, text, labels or [], namespace="shazimd", registry=self._registry)

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(name, text, labels or [], namespace="shazimd", registry=self._registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(
            f"{name}_duration_seconds", text, labels, namespace="shazimd", registry=self._registry, buckets=_SECONDS
        )


_StatusCount = Literal["images", "contents", "pending", "failed", "uptime_s", "rss_bytes"]
_FROM_STATUS: dict[_StatusCount, tuple[str, str]] = {
    "images": ("images", "Image files known"),
    "contents": ("contents", "Different contents known"),
    "pending": ("pending", "Files waiting to be looked at"),
    "failed": ("failed", "Image files that could not be taken in and have not changed since"),
    "uptime_s": ("uptime_seconds", "Time since the daemon started"),
    "rss_bytes": ("resident_memory_bytes", "Resident memory of the daemon, its workers not included"),
}


def _user_watches_max() -> float:
    """NaN where the kernel has no inotify."""
    try:
        return float(_USER_WATCHES_MAX.read_text())
    except OSError:
        return float("nan")

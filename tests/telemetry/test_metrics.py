from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shazimd.protocol.status import RootStatus, Status
from shazimd.telemetry.metrics import Metrics

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
ROOT: RootStatus = {
    "path": "/srv/p",
    "mode": "inotify",
    "state": "watching",
    "watched_dirs": 7,
    "unwatched_dirs": 0,
    "unreadable_dirs": 0,
    "overflows": 2,
    "reconcile": {"state": "idle", "directories_done": 0, "directories_pending": 0, "known_files": None},
    "baseline_complete": True,
    "progress": None,
    "compared_at": 1_800_000_000.5,
    "silent_s": 0,
    "failed": 1,
    "last_alert": None,
}
STATUS: Status = {
    "version": "1.2.3",
    "state": "ready",
    "images": 12,
    "contents": 10,
    "pending": 3,
    "failed": 1,
    "roots": [ROOT],
    "model": {"state": "installed", "handle": "bundled", "id": "m-1", "width": 256},
    "store": {
        "path": "/var/lib/shazimd",
        "schema": 1,
        "size_bytes": 4096,
        "map_size_bytes": 1 << 34,
        "fault": None,
        "outdated": 0,
    },
    "last_alert": None,
    "uptime_s": 5.0,
    "rss_bytes": 1000,
}


def sample(rendered: bytes, name: str, **labels: str) -> float:
    """The value of one series."""
    for family in text_string_to_metric_families(rendered.decode()):
        for found in family.samples:
            if found.name == name and found.labels == labels:
                return float(found.value)
    raise AssertionError(f"no {name}{labels} in\n{rendered.decode()}")


def test_what_happened_is_counted() -> None:
    """Each call adds one to its own series."""
    metrics = Metrics()
    metrics.image_stored(0.02, decoded=True)
    metrics.image_stored(0.001, decoded=False)
    metrics.image_failed("not_an_image")
    metrics.alert_told("copy")
    metrics.query_s.labels("find").observe(0.03)
    text = metrics.render(STATUS)
    assert sample(text, "shazimd_image_duration_seconds_count", decoded="yes") == 1
    assert sample(text, "shazimd_image_duration_seconds_bucket", decoded="no", le="0.005") == 1
    assert sample(text, "shazimd_image_failures_total", code="not_an_image") == 1
    assert sample(text, "shazimd_alerts_total", verdict="copy") == 1
    assert sample(text, "shazimd_alerts_total", verdict="scene") == 0
    assert sample(text, "shazimd_query_duration_seconds_sum", verb="find") == pytest.approx(0.03)


def test_what_is_so_comes_from_the_status() -> None:
    """Gauges show the status that is given at rendering, and forget roots that are gone."""
    metrics = Metrics()
    text = metrics.render(STATUS)
    assert sample(text, "shazimd_images") == 12
    assert sample(text, "shazimd_store_size_bytes") == 4096
    assert sample(text, "shazimd_state", state="ready") == 1
    assert sample(text, "shazimd_state", state="baseline") == 0
    assert sample(text, "shazimd_watched_directories", root="/srv/p", mode="inotify") == 7
    assert sample(text, "shazimd_info", version="1.2.3", model="m-1") == 1
    assert sample(text, "shazimd_watch_overflows_total", root="/srv/p") == 2
    assert sample(text, "shazimd_last_reconcile_timestamp_seconds", root="/srv/p", mode="inotify") == 1_800_000_000.5
    assert b'root="/srv/p"' not in metrics.render({**STATUS, "roots": []})


def test_no_path_can_forge_a_series() -> None:
    """A root's name stays in its label."""
    forged = '/srv/"} 1\nshazimd_images 99\n'
    text = Metrics().render({**STATUS, "roots": [cast("RootStatus", {**ROOT, "path": forged})]})
    assert sample(text, "shazimd_images") == 12
    assert sample(text, "shazimd_watched_directories", root=forged, mode="inotify") == 7


def test_counts_from_many_threads_add_up() -> None:
    """Nothing is lost between threads."""
    metrics = Metrics()

    def tell() -> None:
        for _ in range(500):
            metrics.alert_told("exact")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sample(metrics.render(STATUS), "shazimd_alerts_total", verdict="exact") == 2000


@pytest.mark.parametrize("file", ["prometheus/shazimd.rules.yml", "grafana/shazimd.json"])
def test_rules_and_dashboard_ask_for_metrics_that_exist(file: str) -> None:
    """Every name of ours in contrib/ is one that is rendered."""
    metrics = Metrics()
    metrics.image_stored(1, decoded=True)
    metrics.query_s.labels("find").observe(1)
    metrics.image_failed("store_full")
    families = text_string_to_metric_families(metrics.render(STATUS).decode())
    known = {found.name for family in families for found in family.samples}
    asked = set(re.findall(r"\bshazimd_\w+", (CONTRIB / file).read_text()))
    assert len(asked) > 5
    assert asked - known == set()

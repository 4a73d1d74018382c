"""The alert rules in contrib/prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).resolve().parents[2] / "contrib/prometheus/shazimd.rules.yml"
UNIT_TESTS = Path(__file__).with_name("shazimd.rules.test.yml")


def promtool(*words: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_yaml() -> None:
    """Every rule has an expression, a severity and texts."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    assert "ShazimdStuck" in {rule["alert"] for rule in group["rules"]}
    for rule in group["rules"]:
        assert isinstance(rule["expr"], str)
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert all(isinstance(rule["annotations"][text], str) for text in ("summary", "action"))


def test_prometheus_accepts_the_rules() -> None:
    """Prometheus's own check finds no error."""
    promtool("check", "rules", str(RULES))


def test_alerts_fire_when_they_should() -> None:
    """Prometheus's own unit tests: ShazimdStuck and ShazimdNoReconcile fire, and do not fire."""
    promtool("test", "rules", str(UNIT_TESTS))

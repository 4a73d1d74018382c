"""The alert rules in contrib/prometheus, and the dashboard in contrib/grafana."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
RULES = CONTRIB / "prometheus/shazimd.rules.yml"
DASHBOARD = CONTRIB / "grafana/shazimd.json"
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


def lost(given: Any, taken: Any, place: str = "") -> Iterator[str]:
    """The places in a JSON value that are missing, or other ones, in what was taken of it."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key, value in given.items():
            if key in taken:
                yield from lost(value, taken[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(taken, list) and len(given) == len(taken):
        for position, (one, other) in enumerate(zip(given, taken, strict=True)):
            yield from lost(one, other, f"{place}[{position}]")
    elif given != taken:
        yield place


def not_in_schema(dashboard: dict[str, Any]) -> list[str]:
    """The places of a dashboard that Grafana's own types do not take."""
    register_default_plugins()
    taken = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    return list(lost(dashboard, taken))


def test_the_dashboard_is_one_of_grafana() -> None:
    """All of it is in the schema of Grafana, of which its SDK has the types; a key that is not would be seen."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert not_in_schema(dashboard) == []
    wrong = copy.deepcopy(dashboard)
    wrong["panels"][2]["fieldConfig"]["defaults"]["units"] = "s"
    wrong["panels"][3]["targets"][0]["legend"] = "median"
    assert not_in_schema(wrong) == [".panels[2].fieldConfig.defaults.units", ".panels[3].targets[0].legend"]


def test_the_panels_lie_side_by_side() -> None:
    """Each has an id of its own and place within the 24 columns, and none lies on another."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        place = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= 24
        assert not place & taken, panel["title"]
        taken |= place


def test_prometheus_can_parse_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """As rules that record them; one with a fault would be refused."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"dashboard:expression_{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": [{"record": "x:x", "expr": asked[0] + ")"}]}]}))
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", str(file))

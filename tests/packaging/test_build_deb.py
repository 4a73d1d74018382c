"""The scripts of the Debian package, without building it."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest

from shazimd.cli import service, units

CHECKOUT = Path(__file__).resolve().parents[2]
BASES = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "RuntimeDirectory": "/run"}


def directories_of_units() -> set[str]:
    """The directories that systemd makes for the units."""
    found = set()
    for unit in (CHECKOUT / "shazimd/systemd").glob("*.service"):
        named = re.findall(rf"^({'|'.join(BASES)})=(.+)$", unit.read_text(), re.MULTILINE)
        found |= {f"{BASES[key]}/{name}" for key, names in named for name in names.split()}
    return found


def test_purging_removes_all_that_uninstalling_with_purge_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directories of all units, the model's among them, and the administrator's files."""
    monkeypatch.syspath_prepend(CHECKOUT / "scripts")
    script = importlib.import_module("build_deb").POSTRM
    (removed,) = re.findall(r"^ +rm -rf (.+)$", script, re.MULTILINE)
    layout = units.system_layout()
    config = {os.path.dirname(layout.config), *layout.kept}
    assert "/var/cache/shazimd-model" in directories_of_units()
    assert directories_of_units() <= set(service.DATA)
    assert set(removed.split()) == {*service.DATA, *config}

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import Daemon, draw, wait_for

from shazimd.cli import run


@pytest.fixture
def doctor(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the doctor says: (exit status, findings by what they are about)."""

    def ask() -> tuple[int, list[dict[str, Any]]]:
        status = run(["--socket", daemon.socket, "doctor", "--config", str(daemon.config), "--json"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


def wrong(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["what"] for finding in findings if not finding["well"]]


def test_all_is_well(doctor: Any) -> None:
    """With a sound daemon nothing is wrong, and each thing that was looked at is told."""
    status, findings = doctor()
    assert wrong(findings) == []
    assert status == 0
    assert {finding["what"].split(":")[0].split()[0] for finding in findings} >= {
        "config",
        "daemon",
        "inotify",
        "model",
        "store",
    }


def test_a_directory_that_is_gone(doctor: Any, daemon: Daemon, tmp_path: Path) -> None:
    """A root that is not there is named, with what to do."""
    (tmp_path / "usb").mkdir()
    daemon.configure(roots=(daemon.photos, tmp_path / "usb"))
    daemon.client.reload()
    (tmp_path / "usb").rmdir()
    wait_for(lambda: daemon.client.status()["roots"][1]["state"] == "unavailable")
    status, findings = doctor()
    assert status == 5
    assert wrong(findings) == [f"directory {tmp_path}/usb: is not there", f"directory {tmp_path}/usb: unavailable"]


def test_a_broken_config(doctor: Any, daemon: Daemon) -> None:
    """The fault in the config is told, and the daemon is still looked at."""
    daemon.config.write_text("[match]\nthreshold = 2\n")
    _, findings = doctor()
    (what,) = wrong(findings)
    assert "match.threshold is 2" in what
    assert any(finding["what"].startswith("daemon: ready") for finding in findings)


def test_a_daemon_that_is_away(doctor: Any, daemon: Daemon) -> None:
    """Without a daemon the doctor says how to start one."""
    daemon.stop()
    status, findings = doctor()
    assert status == 5
    assert [what.split(":")[0] for what in wrong(findings)] == ["daemon"]


def test_images_that_failed_are_counted(doctor: Any, daemon: Daemon) -> None:
    """Broken images are no fault of the service, so they are told but not wrong."""
    (daemon.photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    wait_for(lambda: daemon.client.status()["failed"])
    _, findings = doctor()
    assert wrong(findings) == []
    assert any("1 could not be taken in" in finding["what"] for finding in findings)


def test_words_for_people(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json each finding is a line."""
    draw(daemon.photos / "9.png", 9)
    assert run(["--socket", daemon.socket, "doctor", "--config", str(daemon.config)]) == 0
    assert f"well   config: {daemon.config}\n" in capsys.readouterr().out

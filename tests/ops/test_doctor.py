from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import Daemon, draw, wait_for

from shazimd.cli import run


@pytest.fixture
def doctor(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run doctor: (exit status, findings)."""

    def ask() -> tuple[int, list[dict[str, Any]]]:
        status = run(["--socket", daemon.socket, "doctor", "--config", str(daemon.config), "--json"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


def messages(findings: list[dict[str, Any]], level: str) -> list[str]:
    return [finding["what"] for finding in findings if finding["level"] == level]


def problems(findings: list[dict[str, Any]]) -> list[str]:
    return messages(findings, "problem")


def test_no_problems(doctor: Any) -> None:
    """With a healthy daemon every finding is ok, and each check is listed."""
    status, findings = doctor()
    assert problems(findings) == []
    assert messages(findings, "warning") == []
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
    assert problems(findings) == [f"directory {tmp_path}/usb: not found", f"directory {tmp_path}/usb: unavailable"]


def test_a_broken_config(doctor: Any, daemon: Daemon) -> None:
    """The fault in the config is told, and the daemon is still looked at."""
    daemon.config.write_text("[match]\nthreshold = 2\n")
    _, findings = doctor()
    (what,) = problems(findings)
    assert "match.threshold is 2" in what
    assert any(finding["what"].startswith("daemon: ready") for finding in findings)


def test_a_daemon_that_is_away(doctor: Any, daemon: Daemon) -> None:
    """Without a daemon the doctor says how to start one."""
    daemon.stop()
    status, findings = doctor()
    assert status == 5
    assert [what.split(":")[0] for what in problems(findings)] == ["daemon"]


def test_images_that_failed_are_counted(doctor: Any, daemon: Daemon) -> None:
    """Broken images are no fault of the service, and are a warning, not a problem."""
    (daemon.photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    wait_for(lambda: daemon.client.status()["failed"])
    status, findings = doctor()
    assert (status, problems(findings)) == (0, [])
    (warning,) = messages(findings, "warning")
    assert "1 could not be indexed" in warning


def test_words_for_people(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json each finding is a line."""
    draw(daemon.photos / "9.png", 9)
    assert run(["--socket", daemon.socket, "doctor", "--config", str(daemon.config)]) == 0
    assert f"ok       config: {daemon.config}\n" in capsys.readouterr().out

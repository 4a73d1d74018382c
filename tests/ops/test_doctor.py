from __future__ import annotations

import grp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S, wait_for
from running import Daemon, draw

from shazimd.cli import doctor as doctor_module
from shazimd.cli import run, situation
from shazimd.cli.situation import Situation

SCRIPTS = Path(sys.executable).parent


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
    assert [said for said in messages(findings, "warning") if not said.startswith("workers: confined, but")] == []
    assert status == 0
    assert {finding["what"].split(":")[0].split()[0] for finding in findings} >= {
        "config",
        "daemon",
        "inotify",
        "model",
        "store",
        "workers",
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


def commands(findings: list[dict[str, Any]]) -> list[str]:
    """The commands in the advice of all problems."""
    return [command for each in findings for command in re.findall("`([^`]+)`", each["advice"])]


def run_advice(command: str, daemon: Daemon, *shims: Path) -> subprocess.Popen[bytes]:
    """A command of an advice, word by word in a shell, as a user of this daemon would run it."""
    path = os.pathsep.join([*map(str, shims), str(SCRIPTS), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "SHAZIMD_SOCKET": daemon.socket}
    return subprocess.Popen(
        f"exec {command}" if not shims else command, shell=True, env=environ, stderr=subprocess.DEVNULL
    )


def test_a_daemon_that_is_away(doctor: Any, daemon: Daemon) -> None:
    """Without a service the advice is the command with this very configuration, and it starts the daemon."""
    daemon.stop()
    daemon.configure(f'[server]\nsocket = "{daemon.socket}"')
    status, findings = doctor()
    assert status == 5
    assert [what.split(":")[0] for what in problems(findings)] == ["daemon"]
    (command,) = commands(findings)
    assert command == f"shazimd --config {daemon.config}"
    daemon.process = run_advice(command, daemon)
    daemon.wait_ready()
    assert doctor()[0] == 0


def test_the_socket_of_the_named_config_is_asked(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Another daemon, at the default socket, is not the one in question; --socket counts first."""
    elsewhere = f"{daemon.socket}.away"
    daemon.config.write_text(f'[server]\nsocket = "{elsewhere}"\n')
    assert run(["doctor", "--config", str(daemon.config), "--json"]) == 5
    assert f"daemon: no daemon at {elsewhere}" in capsys.readouterr().out
    assert run(["doctor", "--config", str(daemon.config), "--socket", daemon.socket]) == 0


def test_without_a_config_the_advice_names_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no configuration that says what to watch."""
    monkeypatch.setenv("SHAZIMD_CONFIG", str(tmp_path / "empty.toml"))
    (tmp_path / "empty.toml").touch()
    assert Situation(None).start() == "start it with `shazimd DIR`, where DIR is a folder of images"


def test_a_corrected_config_is_reloaded_as_advised(doctor: Any, daemon: Daemon) -> None:
    """The command reloads the running daemon, however it was started."""
    daemon.config.write_text("[match]\nthreshold = 2\n")
    (command,) = commands(doctor()[1])
    daemon.configure("[match]\nthreshold = 0.95")
    assert run_advice(command, daemon).wait(PATIENCE_S) == 0
    picture = (daemon.photos / "0.png").read_bytes()
    assert daemon.client.find(picture)["threshold"] == 0.95


def test_a_wrong_model_is_corrected_as_advised(doctor: Any, daemon: Daemon) -> None:
    """The handle is set to "bundled", and the daemon started again with the command."""
    daemon.stop()
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace('handle = "none"', 'handle = "/no/such/model"'))
    daemon.start()
    wait_for(lambda: daemon.client.status()["model"]["state"] == "missing")
    status, findings = doctor()
    assert (status, len(problems(findings))) == (5, 1)
    (advice,) = (each["advice"] for each in findings if each["advice"])
    assert advice.startswith('correct [model] handle in the configuration, or set it to "bundled", then stop ')
    daemon.stop()
    text = text.replace('handle = "none"', 'handle = "bundled"')
    daemon.config.write_text(f'[server]\nsocket = "{daemon.socket}"\n{text}')
    (command,) = commands(findings)
    daemon.process = run_advice(command, daemon)
    daemon.wait_ready()
    assert doctor()[0] == 0
    daemon.stop()


def test_a_limit_of_the_kernel_is_raised_as_advised(daemon: Daemon, tmp_path: Path) -> None:
    """The command writes a setting that the kernel has, and applies it. Its two programs are stand-ins here: no test
    changes this machine."""
    stands_in = {
        "tee": f'cat > {tmp_path}/written; echo "$1"',
        "sysctl": f"echo $@ > {tmp_path}/applied",
        "sudo": '"$@"',
    }
    for name, does in stands_in.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (command,) = re.findall("`([^`]+)`", Situation(None).kernel_limit("max_user_watches", 123))
    assert run_advice(command, daemon, tmp_path).wait(PATIENCE_S) == 0
    name, value = (tmp_path / "written").read_text().strip().split("=")
    assert (Path("/proc/sys", *name.split(".")).exists(), value) == (True, "123")
    assert (tmp_path / "applied").read_text() == "--system\n"


def test_in_a_container_the_advice_is_about_the_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command of a service manager, and the host's limits are raised on the host."""
    (tmp_path / "mark").touch()
    monkeypatch.setattr(situation, "CONTAINER_MARKS", (str(tmp_path / "mark"),))
    monkeypatch.setenv("SHAZIMD_IMAGE", "1")
    here = Situation(None)
    assert here.start() == "start the container again, with the images mounted"
    assert here.kernel_limit("max_user_watches", 1).startswith("on the host, ")
    assert here.logs() == "the container's log"


@pytest.mark.parametrize(("kind", "control"), [("system", "systemctl"), ("user", "systemctl --user")])
def test_a_failed_unit_is_reset_before_it_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, control: str
) -> None:
    """systemd refuses to start a unit that failed too often; tests/boot runs these commands."""
    monkeypatch.setattr(situation, "service_kind", lambda: kind)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor_module, "_complaint", lambda unit: "")
    units = "shazimd.service shazimd.socket"
    assert Situation(None).start(failed=True) == (
        f"`{control} reset-failed {units} && {control} start shazimd.socket shazimd.service`"
    )
    shown = {"ActiveState": "failed", "Result": "signal", "NRestarts": "4"}
    found = doctor_module._unit("shazimd.service", shown, Situation(None))
    assert found.message == "shazimd.service: failed, with the result signal; systemd gave up after 4 restarts"
    assert found.advice.startswith("the cause: `journalctl ")


def test_the_variables_of_the_service_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of its environment file, which systemd reads for the daemon."""
    (tmp_path / "environment").write_text("SHAZIMD_TEST_BASE = no\n  SHAZIMD_TEST_BASE='/srv/a b'\nnot a line\n")
    (tmp_path / "config.toml").write_text('[[watch]]\npath = "$SHAZIMD_TEST_BASE/photos"\n')
    monkeypatch.setenv("SHAZIMD_TEST_BASE", "")
    monkeypatch.setattr("shazimd.paths.SYSTEM_ENVIRONMENT", str(tmp_path / "environment"))
    monkeypatch.setattr(situation, "service_kind", lambda: "system")
    monkeypatch.setattr(doctor_module, "_ask_systemd", lambda *_words: "")
    run(["--socket", str(tmp_path / "none"), "doctor", "--config", str(tmp_path / "config.toml"), "--json"])
    assert "directory /srv/a b/photos: not found" in capsys.readouterr().out


@pytest.fixture
def service_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A directory on a path open to everybody, on a machine whose system service runs as nobody."""
    if os.geteuid() != 0:
        pytest.skip("acting as another user needs root")
    (tmp_path / "shazimd.service").touch()
    monkeypatch.setattr(doctor_module, "UNITS", str(tmp_path))
    monkeypatch.setattr(doctor_module, "USER", "nobody")
    monkeypatch.setattr(doctor_module, "GROUP", "nogroup")
    monkeypatch.setattr(doctor_module, "_ask_systemd", lambda *_words: "")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_store_that_its_user_may_not_write_is_a_problem(service_of_nobody: Path) -> None:
    """And so is a missing one: the daemon can't make it."""
    store = str(service_of_nobody)
    (found,) = doctor_module._writable(store)
    assert found.message == f"store {store}: user nobody may not write to it"
    assert found.advice.startswith(f"`chown -R nobody:nogroup {store}`")
    shutil.chown(store, "nobody")
    assert list(doctor_module._writable(store)) == []
    (found,) = doctor_module._writable(f"{store}/gone")
    assert (found.message, found.advice) == (f"store {store}/gone: not found", "`shazimctl service install` makes it")


@pytest.mark.parametrize("member_by", ["the group database", "the unit"])
def test_a_directory_may_be_read_by_another_group(
    service_of_nobody: Path, monkeypatch: pytest.MonkeyPatch, member_by: str
) -> None:
    """Groups of the user count as they do for the service: SupplementaryGroups= of a drop-in are further ones."""
    shutil.chown(service_of_nobody, "root", "daemon")
    service_of_nobody.chmod(0o750)
    (found,) = doctor_module._readable(str(service_of_nobody))
    assert found.message.endswith("user nobody may not read it")
    daemon, own = (grp.getgrnam(name).gr_gid for name in ("daemon", "nogroup"))
    if member_by == "the unit":
        monkeypatch.setattr(doctor_module, "_ask_systemd", lambda *_words: "SupplementaryGroups=gone daemon\n")
    else:
        monkeypatch.setattr(os, "getgrouplist", lambda *_user: [own, daemon])
    (found,) = doctor_module._readable(str(service_of_nobody))
    assert found.message.endswith("user nobody may read it")


def test_images_that_failed_are_counted(doctor: Any, daemon: Daemon) -> None:
    """Broken images are no fault of the service, and are a warning, not a problem."""
    (daemon.photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    wait_for(lambda: daemon.client.status()["failed"])
    status, findings = doctor()
    assert (status, problems(findings)) == (0, [])
    (warning,) = messages(findings, "warning")
    assert "1 could not be read: `shazimctl failed`" in warning


def test_words_for_people(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json each finding is a line."""
    draw(daemon.photos / "9.png", 9)
    assert run(["--socket", daemon.socket, "doctor", "--config", str(daemon.config)]) == 0
    assert f"ok       config: {daemon.config}\n" in capsys.readouterr().out

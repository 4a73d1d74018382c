"""Where things lie by default."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from shazimd import paths


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without any of the variables, and no system-wide daemon."""
    for name in (
        "SHAZIMD_SOCKET",
        "SHAZIMD_CONFIG",
        "XDG_CONFIG_HOME",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "XDG_RUNTIME_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)  # no such user: no /run/user/UID
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", str(tmp_path / "config.toml"))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A runtime directory, as pam_systemd makes it at a login."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return runtime


def test_a_user_has_the_places_of_xdg(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    """Runtime and state directories are the user's own, with the defaults of the specification."""
    assert (paths.listening_socket(), paths.store_directory()) == (
        f"{runtime}/shazimd.sock",
        "/home/u/.local/state/shazimd",
    )
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert paths.store_directory() == "/s/shazimd"


@pytest.mark.parametrize("given", [None, "r", "/run/user/0/of/another", "/no/such"])
def test_without_a_usable_runtime_directory_the_socket_is_beside_the_store(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """In a container, under cron and after su, which leaves the directory of the user before."""
    if given is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    assert paths.listening_socket() == "/home/u/.local/state/shazimd/shazimd.sock"
    assert paths.asking_socket() == "/home/u/.local/state/shazimd/shazimd.sock"


def test_a_client_with_a_runtime_directory_finds_a_daemon_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: Path
) -> None:
    """Started by cron, asked in a session."""
    beside = tmp_path / "state/shazimd/shazimd.sock"
    beside.parent.mkdir(parents=True)
    beside.touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert paths.asking_socket() == str(beside)
    (runtime / "shazimd.sock").touch()
    assert paths.asking_socket() == f"{runtime}/shazimd.sock"


def test_a_client_finds_the_socket_of_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """[server] socket is read where no default socket is; a faulty configuration is left to the daemon."""
    socket, config = tmp_path / "of config.sock", tmp_path / "c.toml"
    socket.touch()
    config.write_text(f'[server]\nsocket = "{socket}"\n')
    monkeypatch.setenv("SHAZIMD_CONFIG", str(config))
    assert paths.asking_socket() == str(socket)
    for text in ("broken", "", '[server]\nsocket = "/no/such"', "[server]\nsocket = 1", "server = 1"):
        config.write_text(text)
        assert paths.asking_socket() == "/home/u/.local/state/shazimd/shazimd.sock"


def test_relative_directories_of_xdg_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the specification demands."""
    monkeypatch.setenv("XDG_STATE_HOME", "s")
    assert paths.store_directory() == "/home/u/.local/state/shazimd"


def test_root_has_the_places_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever XDG says."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert (paths.listening_socket(), paths.asking_socket()) == (paths.SYSTEM_SOCKET, paths.SYSTEM_SOCKET)
    assert paths.store_directory() == "/var/lib/shazimd"


def test_systemd_wins_in_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several directories that systemd passes, the first counts."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert (paths.listening_socket(), paths.store_directory()) == ("/run/a/shazimd.sock", "/var/lib/a")


def test_a_client_asks_its_own_daemon_then_the_systems(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    """$SHAZIMD_SOCKET counts first; then the user's socket when it is there; then the system's when that is."""
    own = runtime / "shazimd.sock"
    assert paths.asking_socket() == str(own)
    Path(paths.SYSTEM_SOCKET).touch()
    assert paths.asking_socket() == paths.SYSTEM_SOCKET
    own.touch()
    assert paths.asking_socket() == str(own)
    monkeypatch.setenv("SHAZIMD_SOCKET", "/x")
    assert paths.asking_socket() == "/x"


def test_a_socket_that_a_dead_daemon_left_comes_last(runtime: Path) -> None:
    """The system's daemon runs; once it has ended, too, the user's own socket is named."""
    own = runtime / "shazimd.sock"
    for path in (str(own), paths.SYSTEM_SOCKET):
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.bind(path)
            daemon.listen()
            assert paths.asking_socket() == path
    assert paths.asking_socket() == str(own)


def test_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None unless one is there: a user's own, then the system's, and the system's alone for root. A given one counts
    even if it is not there, so that the mistake is told."""
    assert paths.config_file() is None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    Path(paths.SYSTEM_CONFIG).touch()
    assert paths.config_file() == paths.SYSTEM_CONFIG
    own = tmp_path / "shazimd/config.toml"
    own.parent.mkdir()
    own.touch()
    assert paths.config_file() == str(own)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert paths.config_file() == paths.SYSTEM_CONFIG
    monkeypatch.setenv("SHAZIMD_CONFIG", "/missing")
    assert paths.config_file() == "/missing"

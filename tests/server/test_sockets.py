"""The listening socket: bound, taken over, or passed by systemd."""

from __future__ import annotations

import grp
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from patience import PATIENCE_S
from raw_http import ask, connect

from shazimd import errors
from shazimd.server.sockets import bind_socket, systemd_sockets


def test_the_socket_has_its_mode_and_group(tmp_path: Path) -> None:
    """Mode and group are as asked, whatever the umask."""
    group = grp.getgrgid(os.getegid()).gr_name
    old = os.umask(0o077)
    try:
        with bind_socket(str(tmp_path / "d" / "s"), 0o666, group):
            found = (tmp_path / "d" / "s").stat()
    finally:
        os.umask(old)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o666, os.getegid())


def test_a_dead_socket_is_taken_over_a_live_one_is_not(tmp_path: Path) -> None:
    """What a killed daemon left is replaced; a daemon that lives is named in the error, even without our lock."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(errors.ConfigError, match="another daemon serves it"):
            bind_socket(path)
    with bind_socket(path):
        with pytest.raises(errors.ConfigError, match="another daemon serves it"):
            bind_socket(path)
        connect(path).close()
    assert not Path(path).exists()


def test_only_one_of_many_starts_gets_a_dead_socket(tmp_path: Path) -> None:
    """Daemons that start at once over a dead socket never remove each other's."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    bound: list[socket.socket] = []
    refused: list[errors.ConfigError] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            bound.append(bind_socket(path))
        except errors.ConfigError as error:
            refused.append(error)

    starts = [threading.Thread(target=start) for _ in range(8)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join(PATIENCE_S)
    assert (len(bound), len(refused)) == (1, 7)
    connect(path).close()
    bound[0].close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A file, a directory or a link at the path is an error, and stays as it is."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(errors.ConfigError, match="expected a socket or nothing"):
            bind_socket(str(tmp_path / name))
    assert (tmp_path / "file").read_text() == "precious"


def test_closing_leaves_a_path_that_is_no_longer_ours(tmp_path: Path) -> None:
    """A socket that someone else put in our place is not removed."""
    path = str(tmp_path / "s")
    ours = bind_socket(path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(path)
        ours.close()
        assert Path(path).exists()


@pytest.mark.parametrize(
    ("path", "group", "message"),
    [
        ("s", "no-such-group-here", 'server.group is "no-such-group-here", expected a group of this system'),
        ("x" * 108, None, "expected at most 107"),
        ("file/s", None, "can't listen there"),
    ],
)
def test_a_socket_that_cannot_be_is_refused(tmp_path: Path, path: str, group: str | None, message: str) -> None:
    """An unknown group, a path too long or in no directory is a ConfigError that says so."""
    (tmp_path / "file").touch()
    with pytest.raises(errors.ConfigError, match=message):
        bind_socket(str(tmp_path / path), group=group)


ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
from fake_service import FakeService
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import systemd_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
server = Server(create_app(FakeService(), max_body_bytes=100), *systemd_sockets())
assert "LISTEN_FDS" not in os.environ
server.start(180)
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


def test_a_socket_from_systemd_is_served_and_left(tmp_path: Path) -> None:
    """A passed socket answers requests that came before the daemon, and its path stays when it stops."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(path)
        passed.listen()
        importable = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(passed.fileno())],
            pass_fds=[passed.fileno()],
            env={**os.environ, "LISTEN_FDS": "1", "PYTHONPATH": importable},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        answer = ask(path, "GET", "/v1/status")
        process.communicate()
    assert answer[0] == 200
    assert (process.returncode, Path(path).exists()) == (0, True)


def test_sockets_meant_for_another_process_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID of someone else means that there is nothing for us."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd_sockets() == []

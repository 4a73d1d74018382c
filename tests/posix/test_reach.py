from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_process import daemon_process
from drawn import encoded, photograph

from shazimd.client import Client
from shazimd.posix.reach import PATH_MAX, within_reach

Write = Callable[[str, bytes], bytes]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file in a directory whose path has some 9,000 bytes, below ``root``; returns the file's path."""
    path = bytes(tmp_path / "root")
    os.makedirs(path, exist_ok=True)
    at = os.open(path, os.O_RDONLY)
    while len(path) < 9_000:
        name = b"d" * 200
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at, path = below, path + b"/" + name

    def write(name: str, data: bytes) -> bytes:
        descriptor = os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=at)
        os.write(descriptor, data)
        os.close(descriptor)
        return path + b"/" + name.encode()

    return write


def test_a_short_path_is_itself() -> None:
    """And a long one that leads nowhere raises as the system does."""
    with within_reach(b"/etc/passwd") as near:
        assert near == b"/etc/passwd"
    with pytest.raises(FileNotFoundError), within_reach(b"/nothing" * PATH_MAX):
        pass


def test_a_path_beyond_the_limit_is_reached(write: Write) -> None:
    """For reading and for stat; no descriptor stays open."""
    path = write("x", b"deep")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="File name too long"):
        os.stat(path)
    with within_reach(path) as near:
        assert Path(os.fsdecode(near)).read_bytes() == b"deep"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_daemon_takes_in_pictures_beyond_the_limit(tmp_path: Path, write: Write) -> None:
    """In the first scan and by events; `find` reads such a file too, and its deletion is seen."""
    write("first.png", encoded(photograph(), "PNG"))
    with daemon_process(tmp_path) as daemon:
        daemon.start()
        daemon.settled()
        assert daemon.status()["roots"][0]["unwatched_dirs"] == 0
        path = write("copy.bmp", encoded(photograph(), "BMP"))
        assert daemon.wait_for("near_duplicate")["verdict"] == "exact"
        assert "exact" in daemon.ctl("find", os.fsdecode(path)).stdout
        shutil.rmtree(daemon.root)
        daemon.root.mkdir()
        daemon.ctl("rescan", str(daemon.root))
        daemon.wait_until(lambda: list(Client(daemon.socket).export()) == [])

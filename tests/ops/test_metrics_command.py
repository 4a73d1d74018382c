from __future__ import annotations

import os
from pathlib import Path

import pytest
from running import Daemon

from shazimd.cli import run


def test_the_metrics_of_a_daemon(daemon: Daemon, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """They come on standard output, or whole into a file; a place that can't be written is named and left clean."""
    assert run(["--socket", daemon.socket, "metrics"]) == 0
    assert b"\nshazimd_images 3.0\n" in capfdbinary.readouterr().out
    target = tmp_path / "shazimd.prom"
    assert run(["--socket", daemon.socket, "metrics", "--textfile", str(target)]) == 0
    assert b"\nshazimd_images 3.0\n" in target.read_bytes()
    target.unlink()
    target.mkdir()
    assert run(["--socket", daemon.socket, "metrics", "--textfile", str(target)]) == 5
    assert str(target).encode() in capfdbinary.readouterr().err
    assert os.listdir(tmp_path) == ["shazimd.prom"]

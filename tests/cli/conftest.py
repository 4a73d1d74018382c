from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Spoken
from fake_service import FakeService, serving

from shazimd.cli import run as run_words


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def socket_path(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A daemon that $SHAZIMD_SOCKET leads to, and a working directory with pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("ski.jpg", "ski2.jpg"):
        (tmp_path / name).write_bytes(b"image " + name.encode())
    with serving(service, tmp_path) as path:
        monkeypatch.setenv("SHAZIMD_SOCKET", path)
        yield path


@pytest.fixture
def run(socket_path: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> Spoken:
        try:
            status = run_words(words)
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return Spoken(status, out, err)

    return run

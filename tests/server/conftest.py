from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import FakeService, serving
from patience import PATIENCE_S

from shazimd.server import guard


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def path(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A connection may be idle as long as a test takes."""
    monkeypatch.setattr(guard, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(guard.GuardedProtocol, "timeout_keep_alive_handler", lambda _: None)
    with serving(service, tmp_path) as path:
        yield path

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import FakeService, serving


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def path(service: FakeService, tmp_path: Path) -> Iterator[str]:
    with serving(service, tmp_path) as path:
        yield path

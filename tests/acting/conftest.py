from __future__ import annotations

from pathlib import Path

import pytest
from cleaning import CleanTree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CleanTree:
    """A folder of files, with a trash and journals of its own."""
    return CleanTree(tmp_path, monkeypatch)

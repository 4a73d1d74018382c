from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cleaning import CleanTree, other_file_system


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CleanTree:
    """A folder of files, with a trash and journals of its own."""
    return CleanTree(tmp_path, monkeypatch)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    folder = other_file_system(tmp_path)
    if folder is None:
        pytest.skip("there is no second file system to write to")
    made = Path(tempfile.mkdtemp(dir=folder))
    yield made
    shutil.rmtree(made)

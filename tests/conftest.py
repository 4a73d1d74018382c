from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# benchmarks/ and training/ are no part of the installed package; last, for shazimd itself to be the installed one.
sys.path.append(str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and models; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SHAZIMD_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "data" / "photos").is_dir():
        pytest.skip(f"real photos are needed: {folder} is absent (set SHAZIMD_SHARED)")
    return folder

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

# benchmarks/ and training/ are no part of the installed package; last, for shazimd itself to be the installed one.
sys.path.append(str(Path(__file__).resolve().parents[1]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, the tests of a file run in one, and so do all that share a booted machine or a browser:
    they have it once."""
    for item in items:
        shares = item.path.parent.name in ("boot", "web")
        item.add_marker(pytest.mark.xdist_group(item.path.parent.name if shares else str(item.path)))


@pytest.fixture(autouse=True)
def pillows_limit() -> Iterator[None]:
    """Decoding sets Pillow's limit of pixels, which is global: the next test has the usual limit again."""
    limit = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = limit


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and models; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SHAZIMD_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "data" / "photos").is_dir():
        pytest.skip(f"real photos are needed: {folder} is absent (set SHAZIMD_SHARED)")
    return folder

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

# benchmarks/ and training/ are no part of the installed package; last, for shazimd itself to be the installed one.
sys.path.append(str(Path(__file__).resolve().parents[1]))


TESTS = Path(__file__).resolve().parent
SLOW_FILES = {
    *(f"daemon/test_{name}.py" for name in ("daemon", "damaged", "decisions", "foreign", "templates")),
    *(f"docs/test_{name}.py" for name in ("examples", "how_to", "tutorial")),
    *(f"imaging/test_{name}.py" for name in ("differences", "lineage", "unlike")),
    *(f"ops/test_{name}.py" for name in ("by_hand", "doctor", "life_cycle", "store_commands")),
    "durability/test_disks.py",
    "index/test_promises.py",
    *(f"models/test_{name}.py" for name in ("onnx", "registry")),
    "search/test_one_answer.py",
    *(f"store/test_store_{name}.py" for name in ("crash", "damage", "fixtures", "operations", "repair")),
    "test_engine.py",
    *(f"web/test_{name}.py" for name in ("guard", "page")),
}
"""Files that take more than five seconds of processor time, most of them for daemons that they start."""
CACHES = (".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the suite leaves in caches; pytest itself says how long it took."""
    left = [name for name in CACHES if (TESTS.parent / name).exists()]
    trees = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shazimd-boot"
    if trees.is_dir() and (found := sum(tree.is_dir() for tree in trees.iterdir())):
        left.append(f"{trees} ({found} Debian trees, up to 0.8 GB each)")
    if left:
        terminalreporter.write_line(f"left in caches: {', '.join(left)}")


def pytest_itemcollected(item: pytest.Item) -> None:
    if str(item.path).removeprefix(f"{TESTS}/") in SLOW_FILES:
        item.add_marker(pytest.mark.slow)


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

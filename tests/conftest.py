from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in daemon and workers; read once, when numpy is loaded

import compileall
import sys
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path

import cv2
import pytest
from hypothesis import settings
from PIL import Image

import shazimd

# benchmarks/ and training/ are no part of the installed package; last, for shazimd itself to be the installed one.
sys.path.append(str(Path(__file__).resolve().parents[1]))


# No example fails for its time: hypothesis' limit of 200 ms is less than a busy machine may take for any of them.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# As in a worker. Threads of OpenCV and OpenBLAS spin while they wait for each other: on 16 processors three quarters of
# the time of tests/imaging went there. The daemons of the tests choose for themselves.
cv2.setNumThreads(1)
del os.environ["OPENBLAS_NUM_THREADS"]

TESTS = Path(__file__).resolve().parent
STARTING_FIXTURES = {
    *("daemon", "running", "host", "server", "shared_server", "chrome"),
    *("machine", "packaged", "installed_tree"),
}
STARTING_FUNCTIONS = {"daemon_process", "world", "outcomes"}
"""They start a daemon, a database, a browser or a machine: tests that use them are slow."""
SLOW_FILES = {
    *(f"daemon/test_foreign{name}.py" for name in ("", "_features", "_rows")),
    *(f"docs/test_{name}.py" for name in ("examples", "how_to", "tutorial")),
    *(f"imaging/test_{name}.py" for name in ("differences", "frames", "lineage", "unlike")),
    *(f"ops/test_{name}.py" for name in ("by_hand", "life_cycle")),
    "index/test_promises.py",
    *(f"models/test_{name}.py" for name in ("onnx", "registry")),
    "search/test_one_answer.py",
    *(f"store/test_store_{name}.py" for name in ("crash", "damage", "fixtures", "operations", "repair")),
    "test_engine.py",
    "web/test_guard.py",
    "workers/test_border.py",
}
"""Other files that take more than five seconds of processor time."""
CACHES = (".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once, as an installation does: with PYTHONDONTWRITEBYTECODE each of a thousand processes
    would compile its modules, a third of the time of its start. And keep the tests' modules as pytest rewrites them,
    which takes each of its processes 2 s."""
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(os.path.dirname(shazimd.__file__), quiet=2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the suite leaves in caches; pytest itself says how long it took."""
    left = [name for name in CACHES if (TESTS.parent / name).exists()]
    trees = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shazimd-boot"
    if trees.is_dir() and (found := sum(tree.is_dir() for tree in trees.iterdir())):
        left.append(f"{trees} ({found} Debian trees and sets of wheels, 2 GB)")
    if left:
        terminalreporter.write_line(f"left in caches: {', '.join(left)}")


def pytest_xdist_auto_num_workers() -> int:
    """Two more than processors: half of the time tests wait, for a daemon or for events to settle."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_itemcollected(item: pytest.Item) -> None:
    if str(item.path).removeprefix(f"{TESTS}/") in SLOW_FILES or _starts_a_program(item):
        item.add_marker(pytest.mark.slow)


def _starts_a_program(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not (
        STARTING_FIXTURES.isdisjoint(item.fixturenames)
        and STARTING_FUNCTIONS.isdisjoint(item.function.__code__.co_names)
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that may take longest come first where several processes share them, so that all end at about one time."""
    if not hasattr(config, "workerinput"):
        return
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    files.sort(key=_longest_first)
    items[:] = chain.from_iterable(files)


def _longest_first(tests: list[pytest.Item]) -> tuple[float, int, int]:
    """By the time that a test of the file may take, then by the number of its slow tests, then of all."""
    limits = [float(mark.args[0]) for test in tests if (mark := test.get_closest_marker("timeout"))]
    slow = sum(test.get_closest_marker("slow") is not None for test in tests)
    return -max(limits, default=0.0), -slow, -len(tests)


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

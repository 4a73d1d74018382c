"""Another disk at the mount point of a root: the rows of the first stay until a day of the daemon's own has passed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from store_faults import YEARS_S, set_clock
from world import World, picture, world

NUMBER, OTHERS = 30, 5


def swap(root: Path, mount: Callable[..., Path]) -> None:
    """Mount another disk with files of its own."""
    subprocess.run(["umount", "--lazy", str(root)], check=True)
    mount("root", "-t", "tmpfs", "none")
    for number in range(OTHERS):
        (root / f"other{number}.ppm").write_bytes(picture(1000 + number))


@pytest.fixture
def filled(tmp_path: Path, mount: Callable[..., Path]) -> Callable[[], World]:
    """Makes a daemon at rest on a disk with fewer files than a mass deletion has."""
    root = mount("root", "-t", "tmpfs", "none")
    for number in range(NUMBER):
        (root / f"{number}.ppm").write_bytes(picture(number))

    def start() -> World:
        running = World(tmp_path)
        running.start()
        running.rest()
        return running

    return start


def known(running: World) -> tuple[int, int]:
    """The number of known files of the first disk, and of the other."""
    names = [os.path.basename(path) for path in running.known().files]
    others = sum(name.startswith(b"other") for name in names)
    return len(names) - others, others


@pytest.mark.slow
@pytest.mark.parametrize("is_running", [True, False])
def test_another_disk_takes_no_row_away(
    filled: Callable[[], World], mount: Callable[..., Path], is_running: bool
) -> None:
    """Whether the daemon sees the change or finds it at its start; its files are known at once. A rescan confirms."""
    running = filled()
    try:
        if not is_running:
            running.stop()
        swap(running.root, mount)
        if is_running:
            running.wait_until(lambda: known(running) == (NUMBER, OTHERS))
            running.stop()
        running.start()
        running.wait_for("removal_held", reason="another directory or file system is there than before")
        running.wait_until(lambda: known(running) == (NUMBER, OTHERS))
        running.client.rescan(None)
        running.wait_until(lambda: known(running) == (0, OTHERS))
    finally:
        running.close()


@pytest.mark.slow
def test_no_clock_ends_a_hold(tmp_path: Path) -> None:
    """110 of 150 files are missed. A clock that is ten years ahead or behind is no day that has passed."""
    with world(tmp_path) as running:
        for number in range(150):
            (running.root / f"{number}.ppm").write_bytes(picture(number))
        running.start()
        running.rest()
        running.stop()
        for number in range(110):
            (running.root / f"{number}.ppm").unlink()
        for offset_s in (-YEARS_S, 0, 2 * 86400, YEARS_S):
            set_clock(running, offset_s)
            running.start()
            running.wait_for("removal_held")
            running.rest()
            assert known(running) == (150, 0)
            running.stop()

"""Any history of a tree, with kill -9 at any point of it, killed workers, a flooded socket, a damaged store, a set
clock and swapped disks: at rest the store equals the disk, nothing was decoded twice, every new duplicate was told
once, and no good file has failed.

A random walk rather than a hypothesis state machine: what races with a daemon does not fail again in the same way, so
there is nothing to replay or shrink (hypothesis calls it flaky and hides the failure). The walk goes on and on in one
tree, since a start costs more than a hundred steps. On a failure its story is told, and the daemon's logs stay in
pytest's temporary folder. A longer run, and one with the same choices:

    SHAZIMD_STEPS=10000 pytest tests/durability/test_any_history.py
    SHAZIMD_SEED=17 pytest tests/durability/test_any_history.py     # 0: others each time
"""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from disk import Disk
from disk_swap import DiskSwap, MountPoint
from hostile import Hostile
from store_faults import StoreFaults
from world import World, picture, world

STEPS = int(os.environ.get("SHAZIMD_STEPS", "600"))
SEED = int(os.environ.get("SHAZIMD_SEED", "4242")) or random.SystemRandom().getrandbits(32)
"""The same choices at each run, so that a failure is news; the moments at which they meet the daemon differ."""
PATIENCE_S = 300.0
"""A machine with much other work is slow, which is no fault."""


def check(running: World, disk: Disk) -> None:
    known = running.known()
    assert running.on_disk() == known.files
    assert {} == {content: times for content, times in running.decoded().items() if times > 1}
    assert 0 == known.untold
    assert set(known.alerts) == set(running.logged_alerts())
    told = [alert["path"] for alert in known.alerts.values()]
    for each in disk.lineages:
        assert sum(path in each.paths for path in told) <= each.landings, f"told too often: {each}"
    could_be_found = {image.pixels for image in disk.images if image.is_unchanged and image.pixels is not None}
    for image in disk.images:
        if image.is_new and not image.may_be_renamed and image.pixels in could_be_found:
            assert any(path in image.lineage.paths for path in told), f"never told: {image}"


@pytest.mark.slow
@pytest.mark.timeout(max(600, STEPS))
def test_after_any_history_the_store_equals_the_disk(tmp_path: Path) -> None:
    """Nothing is missed, nothing is decoded or told twice, whatever happened and whenever the daemon was killed."""
    chance = random.Random(SEED)
    story: list[str] = []
    with MountPoint(tmp_path) as point, world(tmp_path, root=point.path / "root") as running, ExitStack() as started:
        outside = point.path / "outside"
        outside.mkdir()
        (running.root / "anchor.ppm").write_bytes(picture(1 << 40))  # an empty root would be taken for an absent one
        running.start()
        running.rest(PATIENCE_S)
        disk = Disk(running.root, outside, chance)
        hostile, faults = started.enter_context(Hostile(running, chance)), StoreFaults(running, chance)
        swap = DiskSwap(running, point, chance, PATIENCE_S)
        for number in range(1, STEPS + 1):
            story.append(disk.step())
            if chance.random() < 0.2:
                time.sleep(chance.random() / 10)  # so that steps meet the daemon at every moment of its work
            if chance.random() < 0.02:
                story.append(hostile.step())
            if not running.is_running() and chance.random() < 0.008:
                story.append(faults.step())
            if chance.random() < 0.03:
                story.append("kill or start")
                running.kill() if running.is_running() else running.spawn()
            if chance.random() < 0.03 or number == STEPS:
                if not running.is_running():
                    running.spawn()
                running.rest(PATIENCE_S)
                if disk.is_changed_by_another_name:
                    running.client.rescan(None)
                    running.rest(PATIENCE_S)
                try:
                    check(running, disk)
                except AssertionError as error:
                    error.add_note(f"SHAZIMD_SEED={SEED}, step {number}, since the last rest: {story}")
                    raise
                disk.rests()
                story.clear()
                if chance.random() < 0.15:
                    story.append(swap.step())

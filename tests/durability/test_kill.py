"""kill -9 in a loop while pictures come in: no loss, no damage, no second decode of what was committed.

SHAZIMD_KILLS=2000 pytest --timeout 0 tests/durability/test_kill.py
"""

from __future__ import annotations

import os
import random
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from world import World, check_store, picture, world

KILLS = int(os.environ.get("SHAZIMD_KILLS", "200"))
LIFE_S = 0.4
"""Lives end at any time up to this after the start, which takes about half of a second itself: before, in and after
the comparison at the start."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_daemon_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """What was said to be stored is there, and is never decoded again; every copy that landed is told once."""
    chance = random.Random(9)
    with world(tmp_path) as running:
        (running.root / "anchor.ppm").write_bytes(picture(0))
        running.start()
        running.rest()
        running.kill()
        with pictures_coming_in(running.root):
            for number in range(KILLS):
                running.spawn()
                if number % 4:
                    running.wait_for("started")
                time.sleep(chance.random() * LIFE_S)
                running.kill()
                expect_no_loss(running)
        running.spawn()
        running.rest()
        known = running.known()
        assert running.on_disk() == known.files
        assert {1} == set(running.decoded().values())
        copies = sorted(number_of(path.name) for path in running.root.glob("copy*"))
        assert copies == sorted(number_of(os.path.basename(alert["path"])) for alert in known.alerts.values())
        assert set(known.alerts) == set(running.logged_alerts())
        assert 0 == running.stop()
        check_store(running.store)


def number_of(name: str) -> int:
    """Of two that lay there before the daemon came, either may be told as a copy of the other."""
    return int(name.removeprefix("copy").removesuffix(".ppm"))


def expect_no_loss(running: World) -> None:
    """What the last run said is in the store it left behind."""
    known = running.known()
    stored = {os.fsencode(event["path"]) for event in running.events("image_indexed")}
    assert stored <= known.files.keys()
    assert {event["alert_id"] for event in running.events("near_duplicate")} <= known.alerts.keys()


class pictures_coming_in:  # noqa: N801  # reads as what it is: while entered, pictures come in
    def __init__(self, root: Path) -> None:
        self._root = root
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        for number in count(1):
            if self._end.wait(0.05):
                return
            (self._root / f"{number}.ppm").write_bytes(picture(number))
            if number % 5 == 0:
                (self._root / f"copy{number - 4}.ppm").write_bytes(picture(number - 4))

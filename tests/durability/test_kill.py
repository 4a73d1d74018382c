"""kill -9 in a loop while pictures come in: no loss, no damage, no second decode of what was committed.

SHAZIMD_KILLS=2000 pytest tests/durability/test_kill.py
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from world import World, check_store, picture, world

KILLS = int(os.environ.get("SHAZIMD_KILLS", "60"))
KNOWN = 20
STORED = (0, 1, 1, 2, 3)
"""Pictures that are stored before a kill, in turn; of the four that landed. Without any, the daemon is starting."""
START_S, LATER_S = 0.4, 0.03
"""The kills go through these times in even steps, from the moment that a starting daemon looks through its store, or
that a picture was stored: moments by chance would leave gaps, and take twice as many kills to fill them. Before, a
daemon loads its modules, which may take any time on a busy machine, and has nothing to lose."""


@pytest.mark.slow
@pytest.mark.timeout(max(900, 3 * KILLS))
def test_a_daemon_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """What was said to be stored is there, and is never decoded again; every copy that landed is told once."""
    chance = random.Random(9)
    copies = 0
    with world(tmp_path) as running:
        for number in range(KNOWN):
            (running.root / f"known{number}.ppm").write_bytes(picture(KILLS + 1 + number))
        running.start()
        running.rest()
        running.kill()
        for number in range(1, KILLS + 1):
            (running.root / f"{number}.ppm").write_bytes(picture(number))
            for _ in range(3):
                copies += 1
                (running.root / f"copy{copies}.ppm").write_bytes(picture(KILLS + 1 + copies % KNOWN))
            running.spawn()
            live(running, STORED[number % len(STORED)], (number + chance.random()) / KILLS)
            running.kill()
            expect_no_loss(running)
        running.spawn()
        running.rest()
        known = running.known()
        assert running.on_disk() == known.files
        assert {1} == set(running.decoded().values())
        told = sorted(os.path.basename(alert["path"]) for alert in known.alerts.values())
        assert sorted(f"copy{number}.ppm" for number in range(1, copies + 1)) == told
        assert set(known.alerts) == set(running.logged_alerts())
        assert 0 == running.stop()
        check_store(running.store)


def live(running: World, stored: int, moment: float) -> None:
    """Until a moment of the start, or of taking in the first to the last of what has landed."""
    event = "image_indexed" if stored else "store_looked_through"  # as it does after each kill
    running.wait_until(lambda: len(running.events(event)) >= max(1, stored))
    time.sleep(moment * (LATER_S if stored else START_S))


def expect_no_loss(running: World) -> None:
    """What the last run said is in the store it left behind."""
    known = running.known()
    stored = {os.fsencode(event["path"]) for event in running.events("image_indexed")}
    assert stored <= known.files.keys()
    assert {event["alert_id"] for event in running.events("near_duplicate")} <= known.alerts.keys()

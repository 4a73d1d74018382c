"""A storm: more happens than the kernel's queue of events holds. At its end the store equals the disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from world import BROKEN, picture, world

FILES = int(os.environ.get("SHAZIMD_STORM", "20000"))
DIRECTORIES = 100
CONTENTS = 500
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_storm_the_store_equals_the_disk(tmp_path: Path) -> None:
    """Files are made, renamed and deleted faster than events are taken; most come and go unseen, none stays unseen."""
    contents = [tmp_path / f"{number}" for number in range(CONTENTS)]
    for number, content in enumerate(contents):
        content.write_bytes(BROKEN if number % 10 == 0 else picture(number))
    with world(tmp_path, settle_ms=250) as running:
        for number in range(0, DIRECTORIES, 2):  # half of them are watched already, the others are new
            (running.root / f"{number}").mkdir()
        running.start()
        running.rest()
        for number in range(DIRECTORIES):
            if number % 50 == 10:
                running.signal(signal.SIGSTOP)  # as on a machine that is too busy
                overflow(running.root, contents[0])
            storm(running.root, number, FILES // DIRECTORIES, contents)
            if number % 50 == 40:
                running.signal(signal.SIGCONT)
        running.rest(patience_s=300)
        known = running.known()
        assert FILES // 10 == len(known.files)
        assert running.on_disk() == known.files
        assert {1} == set(running.decoded().values())
        assert 0 == known.untold
        assert running.events("events_lost")


def overflow(root: Path, content: Path) -> None:
    """More files come and go than the kernel's queue of events holds, however fast the machine is."""
    for _ in range(int(QUEUE.read_text()) // 2 + 1):  # one event for its coming, one for its going
        os.link(content, root / "passing.ppm")
        (root / "passing.ppm").unlink()


def storm(root: Path, number: int, files: int, contents: list[Path]) -> None:
    """Nine of ten files are gone again at the end; half of the rest, and each third directory, have another name."""
    directory = root / f"{number}"
    directory.mkdir(exist_ok=True)
    for file in range(files):
        path = directory / f"{file}.ppm"
        os.link(contents[(number * files + file) // 10 % len(contents)], path)
        if file % 10 < 9:
            path.unlink()
        elif file % 20 < 10:
            path.rename(directory / f"renamed{file}.ppm")
    if number % 3 == 0:
        directory.rename(root / f"renamed{number}")

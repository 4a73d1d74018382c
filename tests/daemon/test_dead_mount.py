"""A root whose file system no longer answers, as a network mount without its server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import drawing
from host_pair import Host
from patience import PATIENCE_S, wait_for

from shazimd.config import WatchConfig
from shazimd.ingest import backfill, lanes, patience
from shazimd.ingest.disk import ReadFile, read_whole
from shazimd.ingest.lanes import Lane


class DeadMount:
    """Reads of files below a directory hang from now on, in the background alone."""

    def __init__(self, directory: Path) -> None:
        self._below = bytes(directory) + b"/"
        self.answers = threading.Event()
        self.is_asked = threading.Event()
        self.asked = 0

    def read_whole(self, path: bytes, *arguments: Any, **options: Any) -> ReadFile | None:
        if path.startswith(self._below):
            self.asked += 1
            self.is_asked.set()
            assert self.answers.wait(PATIENCE_S)
        return read_whole(path, *arguments, **options)


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadMount]:
    (tmp_path / "nas").mkdir()
    mount = DeadMount(tmp_path / "nas")
    monkeypatch.setattr(backfill, "read_whole", mount.read_whole)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    monkeypatch.setattr(lanes, "FINISH_MAX_S", PATIENCE_S)
    yield mount
    mount.answers.set()


def test_reload_and_stop_do_not_wait_for_a_dead_mount(tmp_path: Path, dead: DeadMount) -> None:
    """Its pictures were to be compared in the background. It is asked once, and pictures of other roots are told of."""
    for seed in (1, 2, 3):
        drawing(seed).save(tmp_path / "nas" / f"{seed}.png")
        drawing(seed).save(tmp_path / "nas" / f"{seed}.jpg", quality=80)
    roots = (WatchConfig(path=str(tmp_path / "nas"), mode="poll"),)
    with closing(Host(tmp_path, None, roots=roots)) as host:
        assert dead.is_asked.wait(PATIENCE_S)
        wait_for(lambda: not host.app.run._jobs.pending(Lane.IDLE))
        assert 1 == dead.asked
        assert host.service.status()["relations"]["left"] > 0
        host.service.reload()
        host.known(6)
        drawing(9).save(host.root / "9.png")
        host.known(7)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("job-")]
    assert not dead.answers.is_set()

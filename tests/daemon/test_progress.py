"""The progress of a first scan."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.daemon import progress as progress_module
from shazimd.daemon.progress import BaselineCount
from shazimd.daemon.terminal import baseline_line
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Stat
from shazimd.watch.filters import Filter
from shazimd.watch.listing import count_files


@pytest.fixture
def root(tmp_path: Path) -> Filter:
    """A root with three images in two directories, an excluded one, and another file."""
    for name in ("a.jpg", "b/c.png", "b/d.png", "@eaDir/e.jpg", "notes.txt"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Filter(WatchConfig(path=str(tmp_path / "root")))


def test_the_files_that_a_scan_would_look_at_are_counted(root: Filter) -> None:
    """Excluded directories and other files are not."""
    assert count_files(root.root, root, lambda: False) == 3
    assert count_files(root.root, root, lambda: True) == 0


def test_progress_counts_what_was_known_and_what_is_done(
    root: Filter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted scan goes on where it was; the rate is of this run."""
    clock = Mock()
    clock.monotonic.return_value = 100.0
    monkeypatch.setattr(progress_module, "time", clock)
    with closing(open_store(str(tmp_path / "store"), 1 << 24)) as store:
        known = FileRow(Stat(1, 1, 1), FileState.FAILED, reason="x")
        store.write(lambda writer: writer.put_file(root.root + b"/a.jpg", known))
        progress = BaselineCount(store, {root.root: root})
        progress.start()
        wait_for(lambda: (found := progress.of(root.root)) is not None and found["total"] is not None)
        found = progress.of(root.root)
        assert found is not None
        assert (found["done"], found["total"], found["per_second"]) == (1, 3, 0)
        clock.monotonic.return_value = 102.0
        progress.note(root.root)
        progress.note(b"/elsewhere")
        found = progress.of(root.root)
        assert found is not None
        assert (found["done"], found["total"]) == (2, 3)
        assert (found["per_second"], found["seconds_left"]) == (0.5, 2.0)
        assert progress.of(os.fsencode("/elsewhere")) is None
        progress.stop()


def status(**progress: Any) -> Any:
    return {"state": "watching", "progress": progress or None}


def test_the_live_line_is_of_all_first_scans() -> None:
    """Sums, and the longest time left; nothing once all are complete."""
    first = status(done=10, total=20, per_second=2.0, seconds_left=5.0)
    second = status(done=1, total=None, per_second=0.0, seconds_left=None)
    assert baseline_line([first, status()]) == "scanning: 10 of 20 images, 2/s, 5 s left"
    assert baseline_line([first, second]) == "scanning: 11 images, 2/s"
    assert baseline_line([status()]) is None

"""A root whose file system no longer answers, as a network mount without its server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import drawing
from host_pair import Host
from msgspec import structs
from patience import PATIENCE_S, wait_for

from shazimd.config import WatchConfig
from shazimd.daemon import rescans
from shazimd.errors import Unavailable
from shazimd.ingest import backfill, lanes, patience, root_scans
from shazimd.ingest.disk import Disk, ReadFile, read_whole
from shazimd.ingest.lanes import Lane
from shazimd.posix.mounts import Mount, Mounts, is_at_or_below
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.listing import entries


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


class Share:
    """A directory that stands for a network mount, until its server goes to sleep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sleeps, self.is_asked, self.answers = threading.Event(), threading.Event(), threading.Event()

    def guarded(self, call: Callable[..., Any], place: int = 0) -> Callable[..., Any]:
        """A function that hangs for paths of the share while it sleeps; ``place``: of the path in its arguments."""

        def hanging(*arguments: Any, **options: Any) -> Any:
            path = arguments[place]
            if self.sleeps.is_set() and isinstance(path, bytes) and is_at_or_below(path, bytes(self.path)):
                self.is_asked.set()
                assert self.answers.wait(PATIENCE_S)
            return call(*arguments, **options)

        return hanging


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    """Mounted in a watched directory."""
    made = Share(tmp_path / "pictures" / "nas")
    made.path.mkdir(parents=True)
    point, table = bytes(made.path), Mounts.table
    monkeypatch.setattr(Mounts, "table", lambda self: {**table(self), point: Mount(point, b"nfs4", b"0:99")})
    monkeypatch.setattr(root_scans, "entries", made.guarded(entries))
    monkeypatch.setattr(backfill, "read_whole", made.guarded(read_whole))
    monkeypatch.setattr(Disk, "look", made.guarded(Disk.look, 1))
    monkeypatch.setattr(rescans, "_place", made.guarded(rescans._place))
    monkeypatch.setattr(os.path, "isdir", made.guarded(os.path.isdir))
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    yield made
    made.answers.set()


def test_a_share_below_a_local_root_that_does_not_answer_deafens_no_root(tmp_path: Path, share: Share) -> None:
    """Its directories are to be scanned. Pictures of another root and of its own root beside it raise their alerts, a
    rescan of the share is refused, and the daemon stops."""
    drawing(1).save(tmp_path / "pictures" / "1.png")
    drawing(2).save(share.path / "2.png")
    roots = (WatchConfig(path=str(tmp_path / "pictures"), settle_ms=50),)
    with closing(Host(tmp_path, None, roots=roots)) as host:
        host.known(2)
        share.sleeps.set()
        host.app.run._debouncer.put(FileEvent(Kind.TREE, bytes(share.path)))  # as at the interval
        assert share.is_asked.wait(PATIENCE_S)
        copies = {str(folder / "copy.png") for folder in (host.root, tmp_path / "pictures")}
        for copy in copies:
            drawing(1).save(copy)
        wait_for(lambda: {alert["path"] for alert in host.service.alerts(0, 10)} == copies)
        with pytest.raises(Unavailable, match=r"2\.png: its file system does not answer"):
            host.service.rescan(bytes(share.path / "2.png"))
        host.service.reload()
    assert not share.answers.is_set()


def test_a_removed_root_that_does_not_answer_hangs_no_job(tmp_path: Path, share: Share) -> None:
    """Its pictures stay known, and nothing watches it any more. Pictures like them are decided on, and compared with
    the others."""
    drawing(1).save(share.path / "1.png")
    drawing(1).save(share.path / "same.png")
    roots = (WatchConfig(path=str(share.path), mode="poll", settle_ms=50),)
    with closing(Host(tmp_path, None, roots=roots)) as host:
        host.known(2)
        host.config = structs.replace(host.config, watch=host.config.watch[:1])
        host.service.reload()
        share.sleeps.set()
        drawing(1).save(host.root / "copy.png")
        drawing(1).save(host.root / "edited.jpg", quality=60)
        host.known(4)
        assert share.is_asked.is_set()
        wait_for(lambda: not host.app.run._jobs.pending(Lane.IDLE))
    assert not share.answers.is_set()

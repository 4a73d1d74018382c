"""Rescans that users ask for."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

import pytest
from host_pair import Host, png
from patience import PATIENCE_S, wait_for

from shazimd.config import WatchConfig
from shazimd.daemon import rescans, run
from shazimd.daemon.rescans import Rescans
from shazimd.errors import NotFound, Unavailable
from shazimd.ingest import disk, lanes, patience
from shazimd.ingest.disk import ReadFile, read_whole
from shazimd.ingest.scan import Depth
from shazimd.posix import mounts
from shazimd.posix.mounts import Mount, Mounts
from shazimd.types import Stat


def test_a_rescan_is_of_the_directory_that_lay_there(tmp_path: Path) -> None:
    """Another one that comes before the scan is not what the user saw. A request counts once."""
    root = tmp_path / "root"
    root.mkdir()
    path = os.fsencode(root)
    noted = Rescans(lambda _: False)
    noted.note(path, Depth.ALL)
    assert (Depth.ALL, True) == noted.take(path)
    assert (Depth.NONE, False) == noted.take(path)
    noted.note(path, Depth.ALL)
    root.rename(tmp_path / "away")
    root.mkdir()
    assert (Depth.ALL, False) == noted.take(path)
    noted.note(path + b"/missing", Depth.NONE)
    assert (Depth.NONE, True) == noted.take(path + b"/missing")


def test_a_rescan_is_unfinished_until_its_files_are_read(tmp_path: Path) -> None:
    """It is handed on, but overrides the deletion guard once more only if its scan has not come to an end."""
    (tmp_path / "asked").mkdir()
    asked, root = os.fsencode(tmp_path / "asked"), os.fsencode(tmp_path)
    noted, following = Rescans(lambda _: False), Rescans(lambda _: False)
    for depth in (Depth.ALL, Depth.NONE):
        noted.note(asked, depth)
        noted.take(asked)
    noted.note(root, Depth.NONE)
    for confirmed in ({root}, {asked}, {asked + b"/below"}):
        for path, rescan in noted.unfinished(confirmed).items():
            following.resume(path, rescan)
        assert (Depth.ALL, asked + b"/below" not in confirmed) == following.take(asked)
        assert (Depth.NONE, True) == following.take(root)
    noted.complete()
    assert {root} == noted.unfinished(()).keys()


@pytest.mark.parametrize("name", [None, "folder"])
def test_a_reload_goes_on_with_a_deep_rescan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """In the middle of it, when most files are still to be read: each is."""
    read: set[bytes] = set()
    begun, goes_on = threading.Event(), threading.Event()

    def slowly(path: bytes, stat: Stat, *, follow_symlinks: bool) -> ReadFile | None:
        read.add(path)
        begun.set()
        assert goes_on.wait(PATIENCE_S)
        return read_whole(path, stat, follow_symlinks=follow_symlinks)

    for limit in ("INGESTS_MIN", "INGESTS_PER_WORKER"):
        monkeypatch.setattr(run, limit, 1)
    monkeypatch.setattr(lanes, "FINISH_MAX_S", PATIENCE_S)
    folder = tmp_path / "root" / "folder"
    folder.mkdir(parents=True)
    for seed in (1, 2, 3):
        png(folder, seed)
    with closing(Host(tmp_path, None)) as host:
        host.known(3)
        monkeypatch.setattr(disk, "read_whole", slowly)
        host.service.rescan(os.fsencode(host.root / name) if name else None, deep=True)
        assert begun.wait(PATIENCE_S)
        reload = threading.Thread(target=host.service.reload)
        reload.start()
        wait_for(lambda: host.app.run.state == "draining")
        goes_on.set()
        reload.join()
        wait_for(lambda: len(read) == 3)
        png(folder, 4)
        wait_for(lambda: not host.app.run._rescans.unfinished(()))


def test_a_file_system_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is not held up for long, and nobody is told to forget what may only be slow. One that was asked for
    before counts as of another directory."""
    answers = threading.Event()
    path = os.fsencode(tmp_path)
    noted = Rescans(lambda _: True)
    noted.note(path, Depth.ALL)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.01)
    monkeypatch.setattr(rescans, "_place", lambda _: answers.wait(PATIENCE_S))
    assert (Depth.ALL, False) == noted.take(path)
    with closing(Host(tmp_path, None)) as host:
        monkeypatch.setattr(host.app.run._rescans, "_may_stall", lambda _: True)
        for asked in (None, os.fsencode(host.root)):
            with pytest.raises(Unavailable, match=r"does not answer, known images stay; ask again later$"):
                host.service.rescan(asked)
    answers.set()


def test_a_rescan_of_a_root_that_is_away_is_refused(tmp_path: Path) -> None:
    """Nor does it count later, for another directory that comes there."""
    with closing(Host(tmp_path, None)) as host:
        png(host.root, 1)
        host.known(1)
        host.root.rename(tmp_path / "away")
        wait_for(lambda: host.service.status()["roots"][0]["state"] == "unavailable")
        for path in (None, os.fsencode(host.root), os.fsencode(host.root / "a")):
            with pytest.raises(NotFound, match=r"not there; .* forget PATH"):
                host.service.rescan(path)
        host.root.mkdir()
        wait_for(lambda: host.app.run._watchers[os.fsencode(host.root)].status()["state"] == "watching")
        host.known(1)


def test_a_rescan_of_a_root_without_its_disk_watches_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was retired, and its files were copied to the same path. A rescan of all roots leaves the root alone:
    the disk may come back."""
    point = os.fsencode(tmp_path / "root")
    mounted, parse, table = [Mount(point, b"ext4", b"8:99")], mounts.parse, Mounts.table
    monkeypatch.setattr(mounts, "parse", lambda text: [*parse(text), *mounted])
    monkeypatch.setattr(Mounts, "table", lambda self: (self.expire(), table(self))[1])
    with closing(Host(tmp_path, None)) as host:
        png(host.root, 1)
        host.known(1)
        mounted.clear()
        watcher = host.app.run._watchers[point]
        watcher.refresh()
        wait_for(lambda: watcher.status()["state"] == "unavailable")
        with pytest.raises(NotFound, match=r"root: its disk is not mounted; .* rescan PATH$"):
            host.service.rescan(None)
        png(host.root, 2)
        host.service.rescan(point)
        host.known(2)
        wait_for(lambda: watcher.status()["state"] == "watching")
        png(host.root, 3)
        host.known(3)


def test_a_rescan_forgets_what_lay_behind_a_link(tmp_path: Path) -> None:
    """To a directory that is gone: more than half of the files are gone with it."""
    linking = tmp_path / "linking"
    linking.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    link = linking / "photos"
    link.symlink_to(target)
    root = WatchConfig(path=str(linking), settle_ms=50, follow_symlinks=True)
    with closing(Host(tmp_path, None, roots=(root,))) as host:
        data = png(host.root, 1)
        for number in range(110):
            (target / f"{number}.png").write_bytes(data)
        host.known(111)
        target.rename(tmp_path / "away")
        host.service.rescan(os.fsencode(link))
        host.known(1)
        assert host.app.run.roots.comes_back(os.fsencode(link))


def test_a_rescan_forgets_a_missing_directory(tmp_path: Path) -> None:
    """Though more than half of the files are gone with it."""
    with closing(Host(tmp_path, None)) as host:
        folder = host.root / "folder"
        folder.mkdir()
        data = png(host.root, 1)
        for number in range(110):
            (folder / f"{number}.png").write_bytes(data)
        host.known(111)
        folder.rename(tmp_path / "away")
        wait_for(lambda: host.service.status()["roots"][0]["state"] == "held")
        host.service.rescan(os.fsencode(folder))
        host.known(1)

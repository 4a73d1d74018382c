"""Lost events, limits of the kernel, and roots that come, go, are polled or linked."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import termios
import threading
from array import array
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import patience
import pytest
from patience import wait_for
from watch_files import MakeMirror, contains, write
from watch_mirror import Mirror

from shazimd.config import WatchConfig
from shazimd.posix.mounts import Mount
from shazimd.watch import watcher
from shazimd.watch.events import Kind
from shazimd.watch.filters import Filter
from shazimd.watch.tree import RootWatches, Watches


def test_lost_events_are_made_good(mirror: MakeMirror, root: Path) -> None:
    """An overflow is seen, counted, and answered by watching and telling the whole root again."""
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if room > 100_000:
        pytest.skip(f"too large a queue to fill: {room} events")
    m = mirror()
    (root / "old").mkdir()
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    m.clear()
    with m.watches._lock:
        (root / "first").symlink_to("nowhere")
        wait_for(lambda: not unread(m))  # its one event: the reader waits for the lock, and reads no more meanwhile
        for i in range(room // 2 + 1000):  # two events each
            os.close(os.open(root / str(i), os.O_CREAT | os.O_WRONLY))
        (root / "old").rename(root / "renamed")
        for i in range(50):
            (root / f"d{i}").mkdir()
            write(root / f"d{i}" / "a.jpg")
    wait_for(lambda: m.status()["overflows"] > 0)
    m.wait_until_true()
    assert os.fsencode(root) in m.given_trees()
    wait_for(lambda: m.status()["watched_dirs"] == 52)
    write(root / "renamed" / "b.jpg")
    m.wait_until_true()


def unread(m: Mirror) -> int:
    """The bytes in the kernel's queue of events."""
    size = array("i", [0])
    fcntl.ioctl(m.watches._inotify._fd, termios.FIONREAD, size)
    return size[0]


def test_a_reader_that_dies_is_started_again(mirror: MakeMirror, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its death is noticed at once; watches are set anew and the root is told."""
    m = mirror()
    (root / "a").mkdir()
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    dead = m.watches._inotify._thread
    assert dead is not None
    with monkeypatch.context() as patch:
        patch.setattr(m.watches._inotify, "_dispatch", lambda event: 1 / 0)
        write(root / "a" / "1.jpg")
        wait_for(lambda: not dead.is_alive())
    wait_for(lambda: m.watchers[0].alive() and m.status()["watched_dirs"] == 2)
    m.wait_until_true()
    m.clear()
    write(root / "a" / "2.jpg")
    wait_for(lambda: os.fsencode(root / "a" / "2.jpg") in m.given_files())


@pytest.mark.parametrize("name", ["watches", "instances"])
def test_a_limit_of_the_kernel_costs_events_not_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without a watch, or an instance, directories are polled; told in the status, repaired when there is room.

    In a user namespace of its own, whose limits are nobody else's."""
    unshare = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("user namespaces can't be made here")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(patience.__file__), prepend=os.pathsep)
    command = [*unshare, sys.executable, str(Path(__file__).with_name("with_limits.py")), str(tmp_path), name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "polled repaired\n") == (run.returncode, run.stderr)


def test_a_polled_root_is_told_at_its_interval(mirror: MakeMirror, root: Path) -> None:
    """mode = "poll": no watch, a TREE event each interval."""
    m = mirror(mode="poll", poll_interval_s=1)
    assert ("poll", 0) == (m.status()["mode"], m.status()["watched_dirs"])
    write(root / "a.jpg")
    m.wait_until_true()
    assert {Kind.TREE} == {event.kind for event in m.events}


def test_a_root_that_goes_and_returns(mirror: MakeMirror, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed or moved away it is unavailable; when it is back it is watched and told again."""
    monkeypatch.setattr(watcher, "RETRY_S", 0.02)
    m = mirror()
    write(root / "a.jpg")
    m.wait_until_true()
    root.rename(root.with_name("away"))
    wait_for(lambda: m.status()["state"] == "unavailable")
    assert 0 == m.status()["watched_dirs"]
    root.with_name("away").rename(root)
    wait_for(lambda: m.status()["state"] == "watching")
    write(root / "b.jpg")
    m.wait_until_true()
    shutil.rmtree(root)
    wait_for(lambda: m.status()["state"] == "unavailable")
    (root / "new").mkdir(parents=True)
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    write(root / "new" / "c.jpg")
    m.wait_until_true()


def test_a_disk_that_is_unmounted_while_its_events_are_lost_is_seen(
    tmp_path: Path, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss, which the unmounting causes, and the change of the mounts may come in one poll."""
    woken = Mirror(watches, tmp_path).watchers[0]
    woken._wake, expired = os.eventfd(1), Mock(fileno=lambda: -1, below=lambda _: ())
    both = Mock(poll=lambda _: [(woken._wake, select.POLLIN), (-1, select.POLLPRI)])
    monkeypatch.setattr(watcher, "select", Mock(poll=lambda: both))
    woken._sleep(patience.PATIENCE_S, expired)
    os.close(woken._wake)
    expired.expire.assert_called_once()


def test_a_root_may_come_later(tmp_path: Path, watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that is not there at the start is waited for."""
    monkeypatch.setattr(watcher, "RETRY_S", 0.02)
    m = Mirror(watches, tmp_path / "root")
    m.watchers[0].start()
    wait_for(lambda: m.status()["state"] == "unavailable")
    (tmp_path / "root").mkdir()
    wait_for(lambda: m.status()["state"] == "watching")
    m.watchers[0].stop()
    assert "stopped" == m.status()["state"]
    assert not m.watchers[0].alive()


@pytest.mark.parametrize("how", ["rename over it", "remove and make anew", "a link further up"])
def test_a_linked_root_that_is_turned_to_another_directory_is_told_at_once(
    mirror: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither directory says a word: the links on the way are watched. Files are then told from the new one alone."""
    monkeypatch.setattr(watcher, "RETRY_S", 0.2)
    for name in ("one", "two"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / f"{name}.jpg").write_bytes(b"x")
    link, further = tmp_path / "link", tmp_path / "further"
    further.symlink_to("one")
    link.symlink_to("further/below" if how == "a link further up" else "one/below")
    made = mirror(link)
    assert {b"one.jpg"} == set(map(os.path.basename, made.files))
    if how == "rename over it":
        (tmp_path / "new").symlink_to("two/below")
        (tmp_path / "new").rename(link)
    elif how == "a link further up":
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(further)
    else:
        link.unlink()
        link.symlink_to("two/below")
    made.wait_until_true()
    assert {b"two.jpg"} == set(map(os.path.basename, made.files))
    made.clear()
    with made.in_no_time():
        (tmp_path / "one" / "below" / "late.jpg").write_bytes(b"x")
        (tmp_path / "two" / "below" / "late.jpg").write_bytes(b"x")
    made.wait_until_true()
    assert [os.fsencode(link / "late.jpg")] == made.given_files()


def test_a_refresh_watches_and_tells_the_whole(mirror: MakeMirror, root: Path) -> None:
    """What an explicit rescan asks for."""
    m = mirror()
    m.clear()
    m.watchers[0].refresh()
    wait_for(lambda: os.fsencode(root) in m.given_trees())


def test_the_whole_root_is_told_at_a_period(root: Path, watches: Watches) -> None:
    """Even where the kernel speaks: what it kept to itself is found in time."""
    root.mkdir()
    m = Mirror(watches, root)
    m.watchers[0]._interval_s = 0.05
    m.start()
    wait_for(lambda: len(m.given_trees()) > 2)
    m.stop()


def test_a_period_may_be_long(mirror: MakeMirror, root: Path) -> None:
    """Thirty days are more milliseconds than poll(2) takes; the thread sleeps all the same, and is woken."""
    m = mirror()
    m.watchers[0]._interval_s = 2_592_000
    for _ in range(2):
        m.clear()
        m.watchers[0].refresh()
        wait_for(lambda: os.fsencode(root) in m.given_trees())
    assert m.watchers[0].alive()


def test_a_watcher_that_dies_says_it(mirror: MakeMirror, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log, and in the state of its root, which is behind until it is watched again."""
    logged: list[dict[str, object]] = []
    m = mirror()
    monkeypatch.setattr(watcher.log, "exception", lambda event, **facts: logged.append({"event": event, **facts}))
    monkeypatch.setattr(m.watchers[0], "_mounts_of_root", Mock(side_effect=ZeroDivisionError))
    m.watchers[0].refresh()
    thread = m.watchers[0]._thread
    assert thread is not None
    thread.join(patience.PATIENCE_S)
    assert ("failed", True, False) == (m.status()["state"], m.watchers[0].is_behind(), m.watchers[0].alive())
    assert {"event": "watcher_died", "root": os.fsencode(root)}.items() <= logged[-1].items()
    m.stop()
    assert not m.watchers[0].is_behind()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_an_unreadable_directory_is_noted_and_watched_once_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES on one directory is a figure in the status; a chmod repairs it."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(patience.__file__), prepend=os.pathsep)
    script = Path(__file__).with_name("as_nobody.py")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (0, "noted repaired\n") == (run.returncode, run.stderr)


@pytest.mark.parametrize("sniff", [False, True])
def test_linked_directories_are_watched_if_told_so(mirror: MakeMirror, root: Path, tmp_path: Path, sniff: bool) -> None:
    """follow_symlinks: links that were there and links that come; a cycle ends."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    root.mkdir()
    (root / "first").symlink_to(tmp_path / "one")
    (root / "cycle").symlink_to(root)
    m = mirror(follow_symlinks=True, sniff=sniff)
    (root / "second").symlink_to(tmp_path / "two")
    wait_for(lambda: m.status()["watched_dirs"] == 3)
    for outside, inside in (("one", "first"), ("two", "second")):
        write(tmp_path / outside / "a.jpg")
        expected = os.fsencode(root / inside / "a.jpg")
        wait_for(partial(contains, m, expected))
    m.clear()
    (root / "second").unlink()
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    wait_for(lambda: os.fsencode(root / "second") in m.given_trees())


def test_directories_of_other_machines_are_polled_behind_links_too(tmp_path: Path, watches: Watches) -> None:
    """At and below a linked root, and behind a followed link; a local disk mounted in a share has events."""
    disk, share = tmp_path / "disk", tmp_path / "share"
    for path in (disk / "nas", disk / "plain", share / "in", share / "usb" / "in", share / "usb" / "nas"):
        path.mkdir(parents=True)
    (disk / "to-share").symlink_to(share / "in")
    (disk / "to-usb").symlink_to("to-usb-2")
    (disk / "to-usb-2").symlink_to(share / "usb")
    root = tmp_path / "root"
    root.symlink_to(disk)
    shares = (disk / "nas", share, share / "usb" / "nas")
    fstypes = {tmp_path: b"ext4", share / "usb": b"ext4", **dict.fromkeys(shares, b"nfs4")}
    mounts = {bytes(point): Mount(bytes(point), fstype, b"0:1") for point, fstype in fstypes.items()}
    rules = Filter(WatchConfig(path=str(root), follow_symlinks=True))
    watched = RootWatches(watches, rules, Mock(), Mock())
    watched.sync(mounts)
    found, count = set(watched.unwatched), watched.count
    assert bytes(root) == watched.stalling(bytes(root / "plain"))  # any listing asks the targets of links
    watched.clear()
    watches.leave(watched)
    assert {bytes(root / path) for path in ("nas", "to-share", "to-usb/nas", "to-usb-2/nas")} == found
    assert 6 == count  # the root and plain; each link to the disk, and the directory in it


def test_a_share_below_a_local_root_is_the_only_part_that_may_hang(tmp_path: Path, watches: Watches) -> None:
    """Its mount point counts, and nothing beside it; a root counts as a whole until its mounts are known."""
    root, share = tmp_path / "root", tmp_path / "root" / "a" / "nas"
    share.mkdir(parents=True)
    config = WatchConfig(path=str(root))
    starting = watcher.Watcher(config, Filter(config), Mock(), watches)
    assert bytes(root) == starting.stalling(bytes(root / "a"))
    watched = RootWatches(watches, Filter(config), Mock(), Mock())
    mounts = {bytes(point): Mount(bytes(point), fstype, b"0:1") for point, fstype in ((root, b"xfs"), (share, b"cifs"))}
    watched.sync(mounts)
    watched.clear()
    watches.leave(watched)
    assert {bytes(share)} == {watched.stalling(bytes(path)) for path in (share, share / "b" / "c.jpg")}
    assert {None} == {watched.stalling(bytes(path)) for path in (root, root / "a", root / "a" / "nas.jpg")}


def test_one_directory_under_two_paths_is_told_under_both(mirror: MakeMirror, root: Path, tmp_path: Path) -> None:
    """The kernel has one watch for it; both paths are reported."""
    (tmp_path / "one").mkdir()
    root.mkdir()
    (root / "x").symlink_to(tmp_path / "one")
    (root / "y").symlink_to(tmp_path / "one")
    m = mirror(follow_symlinks=True)
    write(tmp_path / "one" / "a.jpg")
    wait_for(lambda: {os.fsencode(root / name / "a.jpg") for name in "xy"} <= set(m.given_files()))
    (root / "x").unlink()
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    write(tmp_path / "one" / "b.jpg")
    wait_for(lambda: os.fsencode(root / "y" / "b.jpg") in m.given_files())


def test_idle_is_idle(mirror: MakeMirror, root: Path) -> None:
    """When nothing happens no thread of ours runs: none switches context of its own accord."""
    for i in range(50):
        (root / str(i)).mkdir(parents=True)
    others = {t.native_id for t in threading.enumerate()}  # the one of pytest-xdist hears of the next tests
    mirror()
    ours = {t.native_id for t in threading.enumerate()} - others

    def switches() -> dict[int | None, str]:
        lines = {i: Path(f"/proc/self/task/{i}/status").read_text() for i in ours}
        return {i: text.split("voluntary_ctxt_switches:")[1].split()[0] for i, text in lines.items()}

    def are_idle() -> bool:
        before = switches()
        threading.Event().wait(0.5)
        return before == switches()

    assert ours
    wait_for(are_idle)  # those that have just reported the root may be on their way to sleep

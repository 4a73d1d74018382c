"""Absent is not deleted: roots, disks and directories that are away lose no row."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scan_bench import FakeMounts, ScanBench, fill, looked, passed_s, removed, scan_store

from shazimd.ingest import deletion_guard as absence
from shazimd.posix import identity
from shazimd.store.base import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with scan_store(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("how", ["missing", "empty", "no directory"])
def test_a_root_that_is_not_there_loses_nothing(store: Store, root: Path, how: str) -> None:
    """Absent is not deleted: rows stay, the root is unavailable, and all is well when it is back."""
    paths = fill(root) + fill(root / "a")
    bench = ScanBench(store, root)
    bench.run()
    away = root.with_name("away")
    root.rename(away)
    if how == "empty":
        root.mkdir()
    elif how == "no directory":
        root.write_bytes(b"")
    findings = bench.run()
    assert (set(paths), ["unavailable"]) == (bench.known(), bench.state())
    assert not any(each.completed for each in findings)
    subprocess.run(["rm", "-rf", root], check=True)
    away.rename(root)
    assert ([], set(paths)) == (looked(bench.run()), bench.known())
    assert ["idle"] == bench.state()


@pytest.mark.parametrize("mount_point", [".", "..", "usb", "usb/deep"])
@pytest.mark.parametrize("shows", ["nothing", "another file"])
def test_an_unmounted_disk_loses_nothing(store: Store, root: Path, mount_point: str, shows: str) -> None:
    """Rows that came from a mount stay until it is mounted again, at, above or below the root; also after a restart.
    What lies in its place meanwhile is found."""
    usb = root / "usb" / "deep" if mount_point == "usb/deep" else root / "usb"
    fill(root)
    paths = fill(usb)
    point = Path(os.path.normpath(root / mount_point))
    mounts = FakeMounts(point)
    bench = ScanBench(store, root, mounts=mounts)
    bench.run()
    mounts.points.clear()
    subprocess.run(["rm", "-r", root / "usb"], check=True)
    expected = []
    if shows == "another file":
        usb.mkdir(parents=True)
        (usb / "new.jpg").write_bytes(b"new")
        expected = [os.fsencode(usb / "new.jpg")]
    bench.restart()
    assert expected == looked(bench.run())
    assert set(paths) <= bench.known()
    bench.run(usb)
    assert set(paths) <= bench.known()


@pytest.mark.parametrize("link", ["usb", "usb/in", ".", "other", "two links"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_an_unmounted_disk_behind_a_link_loses_nothing(
    store: Store, root: Path, tmp_path: Path, link: str, is_emptied: bool
) -> None:
    """Rows below a followed link stay until its disk is mounted again, also after a restart. The link leads to the
    disk, into it, above it, to a link that is removed with it, or to a directory with a link to it."""
    media = tmp_path / "media"
    usb = media / "usb"
    kept = fill(root) + fill(root / "deep" / "other")
    fill(usb / "in" / "below")
    (media / "other").symlink_to("usb/in")
    linked = root / "deep" / "link"
    linked.symlink_to(media / link)
    if link == "two links":
        fill(media / link)
        (media / link / "further").symlink_to(usb)
    bench = ScanBench(store, root, mounts=(mounts := FakeMounts(usb)), follow_symlinks=True)
    bench.run()
    paths = bench.known()
    assert len(paths) > len(kept)
    mounts.points.clear()
    usb.rename(away := tmp_path / "away")
    (media / "other").unlink()
    if is_emptied:
        usb.mkdir()
    for top in (root, linked, root / "deep"):
        assert (0, paths) == (removed(bench.run(top)), bench.known())
        bench.restart()
    subprocess.run(["rm", "-rf", usb], check=True)
    away.rename(usb)
    (media / "other").symlink_to("usb/in")
    mounts.points.add(usb)
    assert ([], 0) == (looked(found := bench.run()), removed(found))
    (usb / "in" / "below" / "0.jpg").unlink()
    assert sum(path.endswith(b"/below/0.jpg") for path in paths) == removed(bench.run())


def test_a_disk_behind_a_link_is_forgotten_by_a_rescan(store: Store, root: Path, tmp_path: Path) -> None:
    """Or by a link that is turned to another directory meanwhile."""
    kept = fill(root)
    fill(tmp_path / "plain", 1)
    mounts = FakeMounts(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        fill(tmp_path / name / "in")
        (root / name).symlink_to(tmp_path / name)
    bench = ScanBench(store, root, mounts=mounts, follow_symlinks=True)
    bench.run()
    mounts.points.clear()
    subprocess.run(["rm", "-r", tmp_path / "a", tmp_path / "b"], check=True)
    (root / "a").unlink()
    (root / "a").symlink_to(tmp_path / "plain")
    assert 3 == removed(bench.run())
    assert 3 == removed(bench.run(root, confirmed=True))
    assert {*kept, os.fsencode(root / "a" / "0.jpg")} == bench.known()


def test_a_link_on_an_unmounted_disk_loses_nothing(store: Store, root: Path, tmp_path: Path) -> None:
    """Though the directory to which it leads is there."""
    fill(tmp_path / "plain")
    fill(root / "usb")
    (root / "usb" / "link").symlink_to(tmp_path / "plain")
    fill(root)
    bench = ScanBench(store, root, mounts=(mounts := FakeMounts(root / "usb")), follow_symlinks=True)
    bench.run()
    paths = bench.known()
    mounts.points.clear()
    subprocess.run(["rm", "-r", root / "usb"], check=True)
    (root / "usb").mkdir()
    assert (0, paths) == (removed(bench.run()), bench.known())


def test_another_disk_behind_a_link_is_held(
    store: Store, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a rescan of the link accepts it."""
    usb = tmp_path / "usb"
    fill(root)
    paths = fill(usb / "in")
    (root / "link").symlink_to(usb / "in")
    marks = {os.fsencode(root): "fsid 1 inode 2", os.fsencode(usb): "fsid 5 inode 2"}
    monkeypatch.setattr(identity, "of_directory", lambda path, fstype: marks[path])
    bench = ScanBench(store, root, mounts=FakeMounts(usb), follow_symlinks=True)
    bench.run()
    marks[os.fsencode(usb)] = "fsid 6 inode 2"
    os.unlink(paths[0])
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    assert 1 == removed(bench.run(root / "link", confirmed=True))
    os.unlink(paths[1])
    assert (1, ["idle"]) == (removed(bench.run()), bench.state())


def test_a_disk_that_is_given_up_is_forgotten_by_a_rescan(store: Store, root: Path) -> None:
    """An explicit rescan says that what is there is all there is."""
    kept = fill(root)
    fill(root / "usb")
    mounts = FakeMounts(root / "usb")
    bench = ScanBench(store, root, mounts=mounts)
    bench.run()
    mounts.points.clear()
    subprocess.run(["rm", "-r", root / "usb"], check=True)
    assert 0 == removed(bench.run())
    assert 3 == removed(bench.run(root, confirmed=True))
    assert set(kept) == bench.known()


def test_a_mass_deletion_waits_for_a_day_or_a_person(store: Store, root: Path) -> None:
    """More than half of 100 files at once may be a wrong disk: held, also over a restart, then believed. The wall clock
    does not count: a machine without a battery for its clock begins in another year."""
    fill(root / "a", 60)
    kept = fill(root / "b", 50)
    bench = ScanBench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    bench.now += 10 * absence.CONFIRMED_AFTER_S
    passed_s[0] += absence.CONFIRMED_AFTER_S / 2
    bench.restart()
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    passed_s[0] += absence.CONFIRMED_AFTER_S / 2
    assert (60, set(kept)) == (removed(bench.run()), bench.known())
    assert ["idle"] == bench.state()


@pytest.mark.parametrize(("number", "lost", "expected"), [(100, 50, 50), (100, 51, 0), (99, 98, 98)])
def test_how_much_is_a_mass_deletion(store: Store, root: Path, number: int, lost: int, expected: int) -> None:
    """More than half, of at least a hundred."""
    paths = fill(root, number)
    bench = ScanBench(store, root)
    bench.run()
    for path in paths[:lost]:
        os.unlink(path)
    assert expected == removed(bench.run())


def test_another_directory_is_held_however_few_files_are_missed(store: Store, root: Path) -> None:
    """A directory that takes the place of the root is no deletion; its own files are found. A day later it is believed,
    and is the root from then on."""
    kept = fill(root)
    bench = ScanBench(store, root)
    bench.run()
    root.rename(root.parent / "away")
    fill(root)
    for path in kept[1:]:
        os.unlink(path)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    bench.restart()
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    passed_s[0] += absence.CONFIRMED_AFTER_S
    assert (2, ["idle"]) == (removed(bench.run()), bench.state())
    os.unlink(kept[0])
    (root / "other.jpg").write_bytes(b"o")
    assert 1 == removed(bench.run())


def test_a_link_that_is_turned_is_no_exchange(store: Store, root: Path, tmp_path: Path) -> None:
    """A person turned it: files of the former directory are removed at once, and later exchanges are held again."""
    for name in ("a", "b"):
        fill(tmp_path / name, 3 if name == "a" else 1)
    link = tmp_path / "link"
    link.symlink_to("a")
    bench = ScanBench(store, link)
    bench.run()
    link.unlink()
    link.symlink_to("b")
    assert (2, ["idle"]) == (removed(bench.run()), bench.state())
    (tmp_path / "b").rename(tmp_path / "away")
    fill(tmp_path / "b" / "other")
    assert (0, ["held"]) == (removed(bench.run()), bench.state())


def test_another_directory_is_accepted_by_a_rescan(store: Store, root: Path) -> None:
    """And by a scan that misses nothing."""
    kept = fill(root)
    bench = ScanBench(store, root)
    bench.run()
    root.rename(root.parent / "away")
    fill(root)
    os.unlink(kept[0])
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    assert 1 == removed(bench.run(root, confirmed=True))
    os.unlink(kept[1])
    assert (1, ["idle"]) == (removed(bench.run()), bench.state())


def test_another_disk_at_a_mount_point_is_held(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few files it lacks. A disk without marks is no other one, nor is one that is back from elsewhere."""
    usb = root / "usb"
    marks = {os.fsencode(root): "fsid 1 inode 2", os.fsencode(usb): "fsid 5 inode 2"}
    monkeypatch.setattr(identity, "of_directory", lambda path, fstype: marks[path])
    first, second, third = fill(usb)
    bench = ScanBench(store, root, mounts=(mounts := FakeMounts(usb)))
    bench.run()
    marks[os.fsencode(usb)] = ""
    os.unlink(first)
    assert (1, ["idle"]) == (removed(bench.run()), bench.state())
    marks[os.fsencode(usb)] = "fsid 6 inode 2"
    os.unlink(second)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    mounts.points.clear()
    marks[os.fsencode(usb)] = "fsid 1 inode 77"
    bench.run()
    mounts.points.add(usb)
    marks[os.fsencode(usb)] = "fsid 5 inode 2"
    assert (1, {third}) == (removed(bench.run()), bench.known())


def test_a_rescan_confirms_a_mass_deletion(store: Store, root: Path) -> None:
    """A person who asks is believed at once."""
    paths = fill(root, 120)
    bench = ScanBench(store, root)
    bench.run()
    for path in paths[1:]:
        os.unlink(path)
    assert 0 == removed(bench.run())
    assert 119 == removed(bench.run(root, confirmed=True))
    assert ["idle"] == bench.state()


@pytest.mark.parametrize("name", ["a", "a/deep"])
def test_a_rescan_confirms_a_missing_directory_and_no_other(store: Store, root: Path, name: str) -> None:
    """It was held with another one of its parent, and a disk there is not mounted."""
    asked = fill(root / name, 60)
    others = fill(root / "b", 60) + fill(root / "a.usb") + fill(root)
    bench = ScanBench(store, root, mounts=(mounts := FakeMounts(root / "a.usb")))
    bench.run()
    mounts.points.clear()
    subprocess.run(["rm", "-r", root / name, root / "b", root / "a.usb"], check=True)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    assert len(asked) == removed(bench.run(root / name, confirmed=True))
    assert set(others) == bench.known()


def test_a_rescan_of_a_directory_on_an_unmounted_disk_does_not_give_the_disk_up(store: Store, root: Path) -> None:
    """The directory is missing because the disk is."""
    fill(root)
    fill(root / "usb" / "a")
    fill(root / "usb" / "b")
    bench = ScanBench(store, root, mounts=(mounts := FakeMounts(root / "usb")))
    bench.run()
    mounts.points.clear()
    subprocess.run(["rm", "-r", root / "usb" / "a", root / "usb" / "b"], check=True)
    assert 0 == removed(bench.run(root / "usb" / "a", confirmed=True))
    assert 0 == removed(bench.run())
    assert 6 == removed(bench.run(root / "usb", confirmed=True))


def test_a_rescan_of_a_directory_whose_parent_is_missing_as_well_is_held(store: Store, root: Path) -> None:
    """The rest of the parent was not meant."""
    kept = fill(root) + fill(root / "a" / "deep", 60) + fill(root / "a", 60)
    bench = ScanBench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    assert 0 == removed(bench.run(root / "a" / "deep", confirmed=True))
    assert set(kept) == bench.known()


def test_an_emptied_root_is_forgotten_by_a_rescan(store: Store, root: Path) -> None:
    """Empty where it was full is unavailable, until a person says otherwise."""
    paths = fill(root)
    bench = ScanBench(store, root)
    bench.run()
    for path in paths:
        os.unlink(path)
    assert (0, ["unavailable"]) == (removed(bench.run()), bench.state())
    assert (3, ["idle"]) == (removed(bench.run(root, confirmed=True)), bench.state())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_directory_that_cannot_be_read_keeps_its_rows(store: Store, root: Path) -> None:
    """EACCES is no deletion."""
    paths = fill(root / "locked") + fill(root)
    bench = ScanBench(store, root)
    bench.run()
    (root / "locked").chmod(0)
    for directory in (root, *root.parents):
        if directory != directory.parent and directory.stat().st_uid == os.geteuid() and "pytest" in str(directory):
            directory.chmod(0o755)
    os.seteuid(65534)
    try:
        assert not os.access(root / "locked", os.R_OK, effective_ids=True)
        bench.reconciler.request(os.fsencode(root))
        found = [bench.step() for _ in range(5)]
    finally:
        os.seteuid(0)
        (root / "locked").chmod(0o755)
    assert 0 == removed([each for each in found if each])
    assert set(paths) == bench.known()

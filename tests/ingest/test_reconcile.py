from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import tick

from shazimd.config import WatchConfig
from shazimd.errors import NotFound, StoreFull
from shazimd.ingest import deletion_guard as absence
from shazimd.ingest import reconcile, root_scans
from shazimd.ingest.commit import Committer
from shazimd.ingest.reconcile import Reconciler
from shazimd.ingest.scan import Depth, Findings
from shazimd.posix import identity
from shazimd.posix.mounts import Mount, Mounts
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Fingerprint, Signals, Stat
from shazimd.watch.filters import Filter

T = TypeVar("T")
MIB = 2**20


class FakeMounts(Mounts):
    """A mount table that the test writes."""

    def __init__(self, *points: Path) -> None:
        self.points = set(points)

    def table(self) -> dict[bytes, Mount]:
        points = [b"/", *map(os.fsencode, self.points)]
        return {point: Mount(point, b"ext4", b"8:1") for point in points}


class Bench:
    """A store, roots and a reconciler; ``run`` does what the daemon does with what it finds."""

    def __init__(self, store: Store, *roots: Path, mounts: Mounts | None = None, **rules: Any) -> None:
        self.store = store
        self.committer = committer_of(store)
        self.now = time.time() + 60
        self.mounts = mounts or FakeMounts()
        self.rules = {os.fsencode(root): Filter(WatchConfig(path=str(root), **rules)) for root in roots}
        self.restart()

    def restart(self) -> None:
        self.behind = False
        self.reconciler = Reconciler(self.store, self.committer, self.rules, clock=lambda: self.now, mounts=self.mounts)

    def steps(self) -> Iterator[Findings]:
        while (findings := self.step()) is not None:
            yield findings
            for path in findings.look + findings.unsettled:
                self.take_in(path)

    def step(self) -> Findings | None:
        return self.reconciler.step(is_behind=self.behind)

    def run(self, *paths: Path, confirmed: bool = False) -> list[Findings]:
        for path in paths or map(Path, map(os.fsdecode, self.rules)):
            self.reconciler.request(os.fsencode(path), confirmed=confirmed)
        return list(self.steps())

    def take_in(self, path: bytes) -> None:
        found = os.stat(path)
        row = FileRow(Stat.of(found), FileState.FAILED, reason="as a test")
        self.store.write(lambda writer: writer.put_file(path, row))

    def known(self) -> set[bytes]:
        with self.store.read() as reader:
            return {path for path, _ in reader.walk(b"/")}

    def state(self) -> list[str]:
        return [each["state"] for each in self.reconciler.progress().values()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 * MIB, ticks=lambda: _passed_s[0])
    yield opened
    if opened in _committers:
        _committers.pop(opened).close()
    opened.close()


_passed_s = [0.0]
"""the time that the stores of these tests see pass"""
_committers: dict[Store, Committer] = {}


def committer_of(store: Store) -> Committer:
    """The store's only writer besides the test."""
    if store not in _committers:
        _committers[store] = Committer(store)
    return _committers[store]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def fill(directory: Path, number: int = 3) -> list[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{i}.jpg" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i + 1))
    return [os.fsencode(path) for path in paths]


def looked(findings: list[Findings]) -> list[bytes]:
    return sorted(path for each in findings for path in each.look + each.unsettled)


def total(findings: list[Findings], what: Callable[[Findings], int]) -> int:
    return sum(map(what, findings))


def removed(findings: list[Findings]) -> int:
    return total(findings, lambda each: each.removed)


def moved(findings: list[Findings]) -> int:
    return total(findings, lambda each: each.moved)


def test_all_images_of_a_new_tree_are_found_once_and_never_again(store: Store, root: Path) -> None:
    """The first pass gives every image file, the second none: what is known is not read."""
    expected = sorted(fill(root) + fill(root / "a" / "b") + fill(root / "c"))
    (root / "notes.txt").write_bytes(b"x")
    bench = Bench(store, root)
    first = bench.run()
    assert expected == looked(first)
    assert [os.fsencode(root)] == [each.completed for each in first if each.completed]
    assert [] == looked(bench.run())
    assert ["idle"] == bench.state()


def test_odd_names_are_normal(store: Store, root: Path) -> None:
    """Newlines, bytes that are not UTF-8 and names of 255 bytes are files like others."""
    names = [b"a\nb.jpg", b"\xff\xfe.JPG", b"x" * 251 + b".png", b" .gif", b"*.bmp"]
    for name in names:
        with open(os.path.join(os.fsencode(root), name), "wb"):
            pass
    bench = Bench(store, root)
    assert sorted(os.path.join(os.fsencode(root), name) for name in names) == looked(bench.run())
    assert set(looked([])) == set(looked(bench.run()))


def test_what_the_rules_exclude_is_not_entered(store: Store, root: Path) -> None:
    """Excluded directories and files are not found, and are forgotten when they became excluded."""
    kept = fill(root)
    fill(root / "@eaDir")
    fill(root / ".hidden" / "below")
    (root / ".tmp.jpg").write_bytes(b"x")
    bench = Bench(store, root)
    assert kept == looked(bench.run())
    bench.rules[os.fsencode(root)] = Filter(WatchConfig(path=str(root), exclude=("1.*",)))
    bench.restart()
    bench.run()
    assert kept[1] not in bench.known()


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_changed_file_is_looked_at(store: Store, root: Path, change: str) -> None:
    """Each part of the stat counts."""
    path, *_ = fill(root)
    bench = Bench(store, root)
    bench.run()
    before = os.stat(path)
    if change == "size":
        os.truncate(path, 100)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "mtime":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    else:
        other = path + b".new"
        with open(other, "wb") as file:
            file.write(b"x" * before.st_size)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(other, path)
    assert [path] == looked(bench.run())


def test_a_file_changed_just_now_goes_through_the_settler(store: Store, root: Path) -> None:
    """ctime decides, for an old mtime may have been set while the file is still written."""
    path, *_ = fill(root, 1)
    os.utime(path, (1, 1))
    bench = Bench(store, root)
    bench.now = os.stat(path).st_ctime + reconcile.UNSETTLED_S / 2
    bench.reconciler.request(os.fsencode(root))
    findings = bench.step()
    assert findings is not None
    assert ((), (path,)) == (findings.look, findings.unsettled)


def test_deleted_files_and_directories_are_forgotten(store: Store, root: Path) -> None:
    """Gone from the disk, gone from the store; the rest stays."""
    kept = fill(root)
    gone = fill(root / "a" / "b") + fill(root / "a")
    bench = Bench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    assert len(gone) == removed(bench.run())
    assert set(kept) == bench.known()


def test_nothing_is_removed_while_a_rename_may_not_have_been_heard_of(store: Store, root: Path) -> None:
    """A tree that is renamed while it is compared looks lost until its rename is heeded; then it is known as before."""
    fill(root / "old")
    bench = Bench(store, root)
    bench.run()
    (root / "old").rename(root / "new")
    bench.behind = True
    bench.reconciler.request(os.fsencode(root / "old"))
    findings = [bench.step() for _ in range(10)]
    assert findings[-1] is not None
    assert (True, 3) == (findings[-1].waiting, len(bench.known()))
    store.write(lambda writer: writer.move(os.fsencode(root / "old"), os.fsencode(root / "new")))
    bench.behind = False
    assert 0 == removed(list(bench.steps()))
    assert {os.fsencode(root / "new")} == {os.path.dirname(path) for path in bench.known()}


def test_a_rename_after_the_comparison_loses_no_row(store: Store, root: Path) -> None:
    """Only what the comparison missed is removed: the events of later renames were not handled yet."""
    gone, renamed, _ = fill(root)
    tree = set(fill(root / "tree"))
    bench = Bench(store, root)
    bench.run()
    os.unlink(gone)
    bench.reconciler.request(os.fsencode(root), recursive=False)
    compared = bench.step()
    assert compared is not None
    assert (os.fsencode(root), 0) == (compared.directory, compared.removed)
    os.rename(renamed, renamed + b".new.jpg")
    (root / "tree").rename(root / "other")
    assert 1 == removed(list(bench.steps()))
    assert {renamed} | tree <= bench.known()
    assert gone not in bench.known()


@pytest.mark.parametrize("request_path", ["a/b", "a", "a/b/deeper"])
def test_a_request_for_what_is_gone_forgets_it(store: Store, root: Path, request_path: str) -> None:
    """A hint for a vanished directory leads to its nearest ancestor that is there."""
    kept = fill(root)
    fill(root / "a" / "b")
    bench = Bench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    bench.run(root / request_path)
    assert set(kept) == bench.known()


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("z", "fresh"), ("a", "z/deep/er"), ("z", "a-new")])
def test_a_moved_tree_is_known_at_its_new_place_and_not_read(store: Store, root: Path, old: str, new: str) -> None:
    """Renamed while nobody watched: same size, mtime and inode, so the rows move and nothing is looked at."""
    fill(root)
    fill(root / old)
    bench = Bench(store, root)
    bench.run()
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)
    findings = bench.run()
    assert ([], 3, 0) == (looked(findings), moved(findings), removed(findings))
    assert {os.fsencode(root / new / f"{i}.jpg") for i in range(3)} < bench.known()


def test_a_file_moved_between_roots_keeps_its_row(store: Store, tmp_path: Path) -> None:
    """A file missed in one root and found in another is moved, and read once: a rename changes its ctime."""
    one, two = tmp_path / "one", tmp_path / "two"
    paths = fill(one, 4)
    two.mkdir()
    bench = Bench(store, one, two)
    bench.run()
    tick()
    os.rename(paths[0], two / "new.jpg")
    bench.reconciler.request(os.fsencode(one))
    first = bench.step()
    bench.reconciler.request(os.fsencode(two))
    findings = [each for each in [first, *bench.steps()] if each]
    assert ([os.fsencode(two / "new.jpg")], 1) == (looked(findings), moved(findings))


def test_a_hard_link_is_a_file_of_its_own(store: Store, root: Path) -> None:
    """Same inode, but the old name is still there: read, not moved. The new link changes the ctime of both."""
    path, *_ = fill(root)
    bench = Bench(store, root)
    bench.run()
    tick()
    os.link(path, root / "link.jpg")
    findings = bench.run()
    assert ([path, os.fsencode(root / "link.jpg")], 0) == (sorted(looked(findings)), moved(findings))


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("z", "a")])
@pytest.mark.parametrize("apart", [False, True])
def test_hard_links_that_moved_together_moved_one_by_one(
    store: Store, root: Path, old: str, new: str, apart: bool
) -> None:
    """Each name of a file is one that was missed, in whatever order they are met."""
    path, *_ = fill(root / old)
    os.link(path, root / old / "link.jpg")
    (root / new).mkdir()
    fill(root / new, 1)
    bench = Bench(store, root)
    bench.run()
    for name in ["0.jpg", "link.jpg"]:
        folder = root / new / f"of {name}" if apart else root / new
        folder.mkdir(exist_ok=True)
        (root / old / name).rename(folder / f"moved-{name}")
    findings = bench.run()
    assert (2, 0) == (moved(findings), removed(findings))
    assert {path for path in (root / new).rglob("*") if path.is_file()} <= {
        Path(os.fsdecode(path)) for path in bench.known()
    }


@pytest.mark.parametrize("how", ["missing", "empty", "no directory"])
def test_a_root_that_is_not_there_loses_nothing(store: Store, root: Path, how: str) -> None:
    """Absent is not deleted: rows stay, the root is unavailable, and all is well when it is back."""
    paths = fill(root) + fill(root / "a")
    bench = Bench(store, root)
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
    bench = Bench(store, root, mounts=mounts)
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


def test_a_disk_that_is_given_up_is_forgotten_by_a_rescan(store: Store, root: Path) -> None:
    """An explicit rescan says that what is there is all there is."""
    kept = fill(root)
    fill(root / "usb")
    mounts = FakeMounts(root / "usb")
    bench = Bench(store, root, mounts=mounts)
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
    bench = Bench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    bench.now += 10 * absence.CONFIRMED_AFTER_S
    _passed_s[0] += absence.CONFIRMED_AFTER_S / 2
    bench.restart()
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    _passed_s[0] += absence.CONFIRMED_AFTER_S / 2
    assert (60, set(kept)) == (removed(bench.run()), bench.known())
    assert ["idle"] == bench.state()


@pytest.mark.parametrize(("number", "lost", "expected"), [(100, 50, 50), (100, 51, 0), (99, 98, 98)])
def test_how_much_is_a_mass_deletion(store: Store, root: Path, number: int, lost: int, expected: int) -> None:
    """More than half, of at least a hundred."""
    paths = fill(root, number)
    bench = Bench(store, root)
    bench.run()
    for path in paths[:lost]:
        os.unlink(path)
    assert expected == removed(bench.run())


def test_another_directory_is_held_however_few_files_are_missed(store: Store, root: Path) -> None:
    """A directory that takes the place of the root is no deletion; its own files are found. A day later it is believed,
    and is the root from then on."""
    kept = fill(root)
    bench = Bench(store, root)
    bench.run()
    root.rename(root.parent / "away")
    fill(root)
    for path in kept[1:]:
        os.unlink(path)
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    bench.restart()
    assert (0, ["held"]) == (removed(bench.run()), bench.state())
    _passed_s[0] += absence.CONFIRMED_AFTER_S
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
    bench = Bench(store, link)
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
    bench = Bench(store, root)
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
    bench = Bench(store, root, mounts=(mounts := FakeMounts(usb)))
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
    bench = Bench(store, root)
    bench.run()
    for path in paths[1:]:
        os.unlink(path)
    assert 0 == removed(bench.run())
    assert 119 == removed(bench.run(root, confirmed=True))
    assert ["idle"] == bench.state()


def test_an_emptied_root_is_forgotten_by_a_rescan(store: Store, root: Path) -> None:
    """Empty where it was full is unavailable, until a person says otherwise."""
    paths = fill(root)
    bench = Bench(store, root)
    bench.run()
    for path in paths:
        os.unlink(path)
    assert (0, ["unavailable"]) == (removed(bench.run()), bench.state())
    assert (3, ["idle"]) == (removed(bench.run(root, confirmed=True)), bench.state())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_directory_that_cannot_be_read_keeps_its_rows(store: Store, root: Path) -> None:
    """EACCES is no deletion."""
    paths = fill(root / "locked") + fill(root)
    bench = Bench(store, root)
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


def test_roots_take_turns(store: Store, tmp_path: Path) -> None:
    """A large root does not keep a small one waiting."""
    for i in range(20):
        fill(tmp_path / "large" / str(i), 1)
    fill(tmp_path / "small", 1)
    bench = Bench(store, tmp_path / "large", tmp_path / "small")
    order = [each.completed for each in bench.run() if each.completed]
    assert [os.fsencode(tmp_path / "small"), os.fsencode(tmp_path / "large")] == order


def test_a_request_goes_before_the_pass_over_the_whole(store: Store, root: Path) -> None:
    """What just happened is looked at first."""
    for i in range(20):
        fill(root / str(i), 1)
    bench = Bench(store, root)
    bench.reconciler.request(os.fsencode(root))
    bench.step()
    bench.reconciler.request(os.fsencode(root / "9"))
    findings = bench.step()
    assert findings is not None
    assert os.fsencode(root / "9") == findings.directory


def test_requests_are_not_done_twice(store: Store, root: Path) -> None:
    """A subtree that waits holds those below it, and asking again changes nothing."""
    fill(root / "a" / "b")
    bench = Bench(store, root)
    findings = bench.run(root / "a", root / "a" / "b", root / "a")
    directories = [each.directory for each in findings if each.look]
    assert [os.fsencode(root / "a" / "b")] == directories


def test_a_whole_pass_asked_for_meanwhile_follows(store: Store, root: Path) -> None:
    """After lost events, directories that were done already are compared again."""
    fill(root / "a")
    bench = Bench(store, root)
    bench.reconciler.request(os.fsencode(root))
    steps = bench.steps()
    while next(steps).directory != os.fsencode(root / "a"):
        pass
    late = fill(root / "a", 4)[3]
    bench.reconciler.request(os.fsencode(root))
    findings = list(steps)
    assert late in looked(findings)
    assert 2 == len([each for each in findings if each.completed])


def test_too_many_requests_become_one_for_the_whole(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded and nothing is lost."""
    monkeypatch.setattr(root_scans, "WAITING_MAX", 5)
    expected = sorted(path for i in range(12) for path in fill(root / str(i)))
    bench = Bench(store, root)
    assert expected == looked(bench.run(*(root / str(i) for i in range(12))))


def test_a_pass_that_was_cut_off_goes_on_where_it_stood(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is restarted often gets round all the same, and leaves nothing out."""
    monkeypatch.setattr(reconcile, "CURSOR_DIRECTORIES", 1)
    for name in "abcd":
        fill(root / name)
    bench = Bench(store, root)
    bench.run()
    bench.reconciler.request(os.fsencode(root))
    steps = bench.steps()
    while next(steps).directory != os.fsencode(root / "b"):
        pass
    bench.restart()
    visited = [os.path.basename(each.directory) for each in bench.run()]
    assert [b"root", b"b", b"c", b"d", b"a"] == visited[:5]
    assert b"root" == os.path.basename(visited[-1])


def test_symlinks_are_not_followed_unless_told_so(store: Store, root: Path, tmp_path: Path) -> None:
    """By default neither linked files nor linked directories are seen; told so, both are, and a cycle ends."""
    outside = fill(tmp_path / "outside")
    inside = fill(root / "a")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "cycle").symlink_to(root)
    (root / "link.jpg").symlink_to(os.fsdecode(outside[0]))
    (root / "broken.jpg").symlink_to("nowhere")
    assert inside == looked(Bench(store, root).run())
    linked = [os.fsencode(root / "link" / os.fsdecode(os.path.basename(path))) for path in outside]
    found = looked(Bench(store, root, follow_symlinks=True).run())
    assert sorted([*linked, os.fsencode(root / "link.jpg")]) == found


def test_a_path_outside_of_all_roots_is_refused(store: Store, root: Path) -> None:
    """The error names the path."""
    with pytest.raises(NotFound, match="/elsewhere"):
        Bench(store, root).reconciler.request(b"/elsewhere")


def test_a_full_disk_loses_no_work(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be stored is done by a later step."""
    paths = fill(root, 4)
    bench = Bench(store, root)
    bench.run()
    os.unlink(paths[0])
    os.rename(paths[1], root / "new.jpg")

    def full(work: Callable[[Writer], T]) -> T:
        raise StoreFull("full")

    bench.reconciler.request(os.fsencode(root))
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        for _ in range(3):
            with bench.committer.giving_up_when_full(), pytest.raises(StoreFull):
                bench.step()
    list(bench.steps())
    assert {*paths[2:], os.fsencode(root / "new.jpg")} == bench.known()


names = st.sampled_from(["a", "b", "c"])
acts = st.lists(st.tuples(st.sampled_from(["write", "delete", "move", "remove", "pass", "step"]), names, names, names))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=acts)
def test_after_any_history_a_pass_makes_the_store_say_what_the_disk_has(
    acts: list[tuple[str, str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever happened, in the middle of a pass or not: two passes later store and disk agree."""
    folder = tmp_path_factory.mktemp("history")
    root = folder / "root"
    (root / "always").mkdir(parents=True)
    (root / "always" / "0.jpg").write_bytes(b"")
    opened = open_store(str(folder / "store"), 16 * MIB)
    try:
        bench = Bench(opened, root)
        for act, x, y, z in acts:
            _act(bench, root, act, x, y, z)
        bench.run()
        bench.run()
        on_disk = {os.fsencode(path): path.stat() for path in root.rglob("*.jpg")}
        assert set(on_disk) == bench.known()
        with opened.read() as reader:
            rows = {path: reader.file(path) for path in on_disk}
        assert {p: Stat.of(s) for p, s in on_disk.items()} == {p: row and row.stat for p, row in rows.items()}
    finally:
        _committers.pop(opened).close()
        opened.close()


def _act(bench: Bench, root: Path, act: str, x: str, y: str, z: str) -> None:
    if act == "write":
        (root / x / y).mkdir(parents=True, exist_ok=True)
        (root / x / y / f"{z}.jpg").write_bytes(os.urandom(ord(z) - 90))
    elif act == "delete":
        (root / x / y / f"{z}.jpg").unlink(missing_ok=True)
    elif act == "move" and (root / x / y).exists():
        (root / z).mkdir(exist_ok=True)
        subprocess.run(["mv", "-T", root / x / y, root / z / f"{y}{y}"], check=False, stderr=subprocess.DEVNULL)
    elif act == "remove":
        subprocess.run(["rm", "-rf", root / x], check=True)
    elif act == "pass":
        bench.run()
    else:
        bench.reconciler.request(os.fsencode(root))
        bench.step()


@pytest.mark.parametrize(("depth", "read"), [(Depth.NONE, 0), (Depth.FAILED, 1), (Depth.ALL, 2)])
def test_a_scan_has_known_files_read_again_by_its_depth(store: Store, root: Path, depth: Depth, read: int) -> None:
    """Failed files, or all of them, though their stat is unchanged; an unchanged file explains no missing one."""
    bench = Bench(store, root)
    for name in ("failed.jpg", "indexed.jpg"):
        (root / name).write_bytes(name.encode())
    bench.run()
    stat = Stat.of(os.stat(root / "indexed.jpg"))
    content = FileRow(stat, FileState.INDEXED, 1)
    fingerprint = Fingerprint(Signals(1, 1, None), None, 4, 3, "PPM")

    def index(writer: Writer) -> None:
        writer.add_content(b"d" * 32, fingerprint)
        writer.put_file(os.fsencode(root / "indexed.jpg"), content)

    bench.store.write(index)
    bench.reconciler.request(os.fsencode(root), depth=depth)
    found = [findings for findings in iter(bench.step, None) if findings.look]
    look = sorted(os.path.basename(path) for findings in found for path in findings.look)
    assert [b"failed.jpg", b"indexed.jpg"][:read] == look
    assert all(findings.depth is depth for findings in found)


def test_a_deep_request_is_not_lost_beside_others(store: Store, root: Path) -> None:
    """A queued scan becomes as thorough as each request for it."""
    bench = Bench(store, root)
    (root / "below").mkdir()
    (root / "below" / "a.jpg").write_bytes(b"a")
    bench.run()
    path = os.fsencode(root / "below")
    bench.reconciler.request(path, depth=Depth.ALL)
    bench.reconciler.request(path, confirmed=True)
    bench.reconciler.request(path)
    assert [1] == [len(findings.look) for findings in iter(bench.step, None) if findings.look]

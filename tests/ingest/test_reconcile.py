"""Scans compare a tree with the store: new, changed, deleted and moved files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import tick
from scan_bench import ScanBench, fill, looked, moved, removed, scan_store

from shazimd.config import WatchConfig
from shazimd.errors import NotFound
from shazimd.ingest import reconcile
from shazimd.store.base import Store
from shazimd.types import Stat
from shazimd.watch.filters import Filter


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with scan_store(tmp_path) as opened:
        yield opened


def test_all_images_of_a_new_tree_are_found_once_and_never_again(store: Store, root: Path) -> None:
    """The first pass gives every image file, the second none: what is known is not read."""
    expected = sorted(fill(root) + fill(root / "a" / "b") + fill(root / "c"))
    (root / "notes.txt").write_bytes(b"x")
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
    assert sorted(os.path.join(os.fsencode(root), name) for name in names) == looked(bench.run())
    assert set(looked([])) == set(looked(bench.run()))


def test_what_the_rules_exclude_is_not_entered(store: Store, root: Path) -> None:
    """Excluded directories and files are not found, and are forgotten when they became excluded."""
    kept = fill(root)
    fill(root / "@eaDir")
    fill(root / ".hidden" / "below")
    (root / ".tmp.jpg").write_bytes(b"x")
    bench = ScanBench(store, root)
    assert kept == looked(bench.run())
    bench.rules[os.fsencode(root)] = Filter(WatchConfig(path=str(root), exclude=("1.*",)))
    bench.restart()
    bench.run()
    assert kept[1] not in bench.known()


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_changed_file_is_looked_at(store: Store, root: Path, change: str) -> None:
    """Each part of the stat counts."""
    path, *_ = fill(root)
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
    bench.now = os.stat(path).st_ctime + reconcile.UNSETTLED_S / 2
    bench.reconciler.request(os.fsencode(root))
    findings = bench.step()
    assert findings is not None
    assert ((), (path,)) == (findings.look, findings.unsettled)


def test_deleted_files_and_directories_are_forgotten(store: Store, root: Path) -> None:
    """Gone from the disk, gone from the store; the rest stays."""
    kept = fill(root)
    gone = fill(root / "a" / "b") + fill(root / "a")
    bench = ScanBench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    assert len(gone) == removed(bench.run())
    assert set(kept) == bench.known()


def test_nothing_is_removed_while_a_rename_may_not_have_been_heard_of(store: Store, root: Path) -> None:
    """A tree that is renamed while it is compared looks lost until its rename is heeded; then it is known as before."""
    fill(root / "old")
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
    bench.run()
    subprocess.run(["rm", "-r", root / "a"], check=True)
    bench.run(root / request_path)
    assert set(kept) == bench.known()


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("z", "fresh"), ("a", "z/deep/er"), ("z", "a-new")])
def test_a_moved_tree_is_known_at_its_new_place_and_not_read(store: Store, root: Path, old: str, new: str) -> None:
    """Renamed while nobody watched: same size, mtime and inode, so the rows move and nothing is looked at."""
    fill(root)
    fill(root / old)
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, one, two)
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
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
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


def test_symlinks_are_not_followed_unless_told_so(store: Store, root: Path, tmp_path: Path) -> None:
    """By default neither linked files nor linked directories are seen; told so, both are, and a cycle ends."""
    outside = fill(tmp_path / "outside")
    inside = fill(root / "a")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "cycle").symlink_to(root)
    (root / "link.jpg").symlink_to(os.fsdecode(outside[0]))
    (root / "broken.jpg").symlink_to("nowhere")
    assert inside == looked(ScanBench(store, root).run())
    linked = [os.fsencode(root / "link" / os.fsdecode(os.path.basename(path))) for path in outside]
    found = looked(ScanBench(store, root, follow_symlinks=True).run())
    assert sorted([*linked, os.fsencode(root / "link.jpg")]) == found


def test_a_path_outside_of_all_roots_is_refused(store: Store, root: Path) -> None:
    """The error names the path."""
    with pytest.raises(NotFound, match="/elsewhere"):
        ScanBench(store, root).reconciler.request(b"/elsewhere")


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
    with scan_store(folder, 16) as opened:
        bench = ScanBench(opened, root)
        for act, x, y, z in acts:
            _act(bench, root, act, x, y, z)
        bench.run()
        bench.run()
        on_disk = {os.fsencode(path): path.stat() for path in root.rglob("*.jpg")}
        assert set(on_disk) == bench.known()
        with opened.read() as reader:
            rows = {path: reader.file(path) for path in on_disk}
        assert {p: Stat.of(s) for p, s in on_disk.items()} == {p: row and row.stat for p, row in rows.items()}


def _act(bench: ScanBench, root: Path, act: str, x: str, y: str, z: str) -> None:
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

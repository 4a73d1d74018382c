"""The order of scans, requests by persons, and scans that were cut off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from first_hashes import first_hashes
from scan_bench import ScanBench, fill, looked, scan_store

from shazimd.errors import StoreFull
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.ingest import reconcile, root_scans
from shazimd.ingest.scan import Depth
from shazimd.store.base import Store, Writer
from shazimd.types import FileRow, FileState, Stat

T = TypeVar("T")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with scan_store(tmp_path) as opened:
        yield opened


def test_roots_take_turns(store: Store, tmp_path: Path) -> None:
    """A large root does not keep a small one waiting."""
    for i in range(20):
        fill(tmp_path / "large" / str(i), 1)
    fill(tmp_path / "small", 1)
    bench = ScanBench(store, tmp_path / "large", tmp_path / "small")
    order = [each.completed for each in bench.run() if each.completed]
    assert [os.fsencode(tmp_path / "small"), os.fsencode(tmp_path / "large")] == order


def test_a_request_goes_before_the_pass_over_the_whole(store: Store, root: Path) -> None:
    """What just happened is looked at first."""
    for i in range(20):
        fill(root / str(i), 1)
    bench = ScanBench(store, root)
    bench.reconciler.request(os.fsencode(root))
    bench.step()
    bench.reconciler.request(os.fsencode(root / "9"))
    findings = bench.step()
    assert findings is not None
    assert os.fsencode(root / "9") == findings.directory


def test_requests_are_not_done_twice(store: Store, root: Path) -> None:
    """A subtree that waits holds those below it, and asking again changes nothing."""
    fill(root / "a" / "b")
    bench = ScanBench(store, root)
    findings = bench.run(root / "a", root / "a" / "b", root / "a")
    directories = [each.directory for each in findings if each.look]
    assert [os.fsencode(root / "a" / "b")] == directories


def test_a_whole_pass_asked_for_meanwhile_follows(store: Store, root: Path) -> None:
    """After lost events, directories that were done already are compared again."""
    fill(root / "a")
    bench = ScanBench(store, root)
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
    bench = ScanBench(store, root)
    assert expected == looked(bench.run(*(root / str(i) for i in range(12))))


def test_a_pass_that_was_cut_off_goes_on_where_it_stood(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is restarted often gets round all the same, and leaves nothing out."""
    monkeypatch.setattr(reconcile, "CURSOR_DIRECTORIES", 1)
    for name in "abcd":
        fill(root / name)
    bench = ScanBench(store, root)
    bench.run()
    bench.reconciler.request(os.fsencode(root))
    steps = bench.steps()
    while next(steps).directory != os.fsencode(root / "b"):
        pass
    bench.restart()
    visited = [os.path.basename(each.directory) for each in bench.run()]
    assert [b"root", b"b", b"c", b"d", b"a"] == visited[:5]
    assert b"root" == os.path.basename(visited[-1])


def test_a_full_disk_loses_no_work(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be stored is done by a later step."""
    paths = fill(root, 4)
    bench = ScanBench(store, root)
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


@pytest.mark.parametrize(("depth", "read"), [(Depth.NONE, 0), (Depth.FAILED, 1), (Depth.ALL, 2)])
def test_a_scan_has_known_files_read_again_by_its_depth(store: Store, root: Path, depth: Depth, read: int) -> None:
    """Failed files, or all of them, though their stat is unchanged; an unchanged file explains no missing one."""
    bench = ScanBench(store, root)
    for name in ("failed.jpg", "indexed.jpg"):
        (root / name).write_bytes(name.encode())
    bench.run()
    stat = Stat.of(os.stat(root / "indexed.jpg"))
    content = FileRow(stat, FileState.INDEXED, 1)
    fingerprint = Fingerprint(Signals(first_hashes(1, 1), None), None, 4, 3, "PPM")

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
    bench = ScanBench(store, root)
    (root / "below").mkdir()
    (root / "below" / "a.jpg").write_bytes(b"a")
    bench.run()
    path = os.fsencode(root / "below")
    bench.reconciler.request(path, depth=Depth.ALL)
    bench.reconciler.request(path, confirmed=True)
    bench.reconciler.request(path)
    assert [1] == [len(findings.look) for findings in iter(bench.step, None) if findings.look]

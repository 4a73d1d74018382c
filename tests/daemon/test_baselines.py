"""The completion of first scans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from daemon_process import daemon_process, drawing
from host_pair import Host
from patience import wait_for
from structlog.testing import capture_logs

from shazimd.config import WatchConfig
from shazimd.daemon.baselines import Baselines
from shazimd.daemon.roots import Roots, configured_roots
from shazimd.ingest.commit import Committer
from shazimd.ingest.lanes import Lane
from shazimd.ingest.scan import Findings
from shazimd.ingest.values import decoders_of_failures, has_baseline
from shazimd.store import keys
from shazimd.store.lmdb_store import Store, open_store
from shazimd.watch import filters
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind


class Scanned:
    """Two roots, and what a run knows of their first scans."""

    def __init__(self, folder: Path, store: Store, committer: Committer) -> None:
        self.paths = [os.fsencode(folder / name) for name in ("a", "b")]
        for path in self.paths:
            os.makedirs(path, exist_ok=True)
        watch = [WatchConfig(path=os.fsdecode(path)) for path in self.paths]
        self.roots = Roots(configured_roots(watch), store, alert_on_baseline=False)
        self.store = store
        self.baselines = Baselines(self.roots, self.paths, store, committer, "pillow 13")

    def completed(self) -> list[bytes]:
        """The roots that were completed, each of which the store has by then."""
        found = []
        for root in self.baselines.completed():
            with self.store.read() as reader:
                assert has_baseline(reader, root)
            found.append(root)
        return found


@pytest.fixture
def scanned(tmp_path: Path) -> Iterator[Scanned]:
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(str(tmp_path / "store"), 64 << 20)))
        committer = opened.enter_context(closing(Committer(store)))
        yield Scanned(tmp_path, store, committer)


def test_a_baseline_waits_for_the_files_that_were_still_written(scanned: Scanned) -> None:
    """Those that the scan found so, and those that were delayed already, until each was debounced."""
    (a, b), (new, written) = scanned.paths, (b"/new.jpg", b"/written.jpg")
    scanned.baselines.note(Findings(a, look=(new,), unsettled=(written,)), {new})
    scanned.baselines.note(Findings(a, completed=a), set())
    assert (scanned.baselines.are_due(), scanned.completed()) == (True, [])
    assert (scanned.baselines.settle(new), scanned.baselines.settle(new)) == (True, False)
    assert scanned.completed() == []
    assert scanned.baselines.settle(written)
    assert scanned.completed() == [a]
    assert (scanned.completed(), scanned.roots.without_baseline) == ([], {b})


def test_a_file_found_again_in_peace_holds_up_nothing(scanned: Scanned) -> None:
    """A scan looks at it now, and not the debouncer."""
    (a, _), path = scanned.paths, b"/a.jpg"
    scanned.baselines.note(Findings(a, unsettled=(path,)), set())
    scanned.baselines.note(Findings(a, look=(path,), completed=a), set())
    assert scanned.completed() == [a]


def test_a_file_that_no_event_and_no_scan_gives_holds_up_nothing(scanned: Scanned) -> None:
    """After a full scan: there were too many events, and its directory was renamed away. Files that the debouncer still
    holds do, and those of roots whose full scan is not over."""
    a, b = scanned.paths
    lost = [a + b"/folder/%d.jpg" % number for number in range(4)]
    held, other = a + b"/held.jpg", b + b"/other.jpg"
    debouncer = Debouncer({a: 3600.0}, pending_max=4)
    for path in (held, *lost):
        debouncer.put(FileEvent(Kind.FILE, path))
    assert [FileEvent(Kind.TREE, a + b"/folder")] == debouncer.take()
    scanned.baselines.note(Findings(a, unsettled=(*lost, held, other)), set())
    scanned.baselines.note(Findings(a, completed=a), set())
    scanned.baselines.drop_lost(a, debouncer.holds)
    assert [False, True, True] == [scanned.baselines.settle(path) for path in (lost[0], held, other)]
    assert [a] == scanned.completed()


def test_a_full_scan_drops_lost_files(tmp_path: Path) -> None:
    """The first scan of a daemon's root is complete, though a file of it never comes again."""
    with closing(Host(tmp_path, None)) as host:
        root, run = os.fsencode(host.root), host.app.run
        run._baselines._unsettled.add(root + b"/folder/lost.jpg")
        run.roots.without_baseline.add(root)
        host.service.rescan(None)
        host.idle()
        assert set() == run.roots.without_baseline


def test_jobs_that_a_stop_drops_complete_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a first scan nor a rescan: their files are still to be read."""
    with closing(Host(tmp_path, None)) as host:
        root, run = os.fsencode(host.root), host.app.run
        pending = run._jobs.pending

        def stopping(lane: Lane | None = None) -> int:
            if lane is Lane.BACKLOG:
                run._draining.set()
                run._jobs.drop()
            return pending(lane)

        monkeypatch.setattr(run._jobs, "pending", stopping)
        run.roots.without_baseline.add(root)
        host.service.rescan(None)
        run._thread.join()
        assert {root} == run.roots.without_baseline
        assert {root} == run._rescans.unfinished(()).keys()


def test_failed_files_were_tried_again_once_all_roots_were_scanned(scanned: Scanned) -> None:
    """With these decoders: the store knows by then, and the next run does not try again."""
    for root in scanned.paths:
        assert scanned.baselines.retries_failed
        assert scanned.baselines.compared_at(root) is None
        scanned.baselines.note(Findings(root, completed=root), set())
        assert scanned.completed() == [root]
    assert not scanned.baselines.retries_failed
    assert not scanned.baselines.are_due()
    with scanned.store.read() as reader:
        assert decoders_of_failures(reader) == "pillow 13"


def test_names_longer_than_the_store_takes_hold_up_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory and a file with such names are left out, with a warning, and the pictures beside them are told of."""
    for module in (keys, filters):
        monkeypatch.setattr(module, "NAME_BYTES_MAX", 100)
    long = tmp_path / "root" / ("n" * 101)
    long.mkdir(parents=True)
    drawing(1).save(long / "in.png")
    drawing(1).save(tmp_path / "root" / f"{'n' * 101}.png")
    with capture_logs() as logs, closing(Host(tmp_path, None)) as host:
        drawing(2).save(host.root / "first.png")
        host.known(1)
        assert 1 == host.service.status()["roots"][0]["reconcile"]["passed_over"]
        (host.root / "n").mkdir()
        (host.root / "second.png").write_bytes((host.root / "first.png").read_bytes())
        drawing(3).save(host.root / f"{'m' * 101}.png")
        wait_for(lambda: host.service.alerts(0, 10))
        host.known(2)
    events = [log["event"] for log in logs]
    assert (1, 0, 0) == tuple(map(events.count, ("name_too_long", "following_failed", "job_failed")))


@pytest.mark.parametrize("name", [b"M\xfcnchen", b"/".join([b"x" * 200] * 4)], ids=["latin-1", "long"])
def test_a_root_may_have_any_name(tmp_path: Path, name: bytes) -> None:
    """Bytes that are no UTF-8, and more of them than a key of LMDB has: its pictures are told of, and its first scan
    comes once."""
    root = os.path.join(os.fsencode(tmp_path), b"roots", name)
    os.makedirs(root)
    drawing(1).save(os.fsdecode(root) + "/first.png")
    with daemon_process(tmp_path, os.fsdecode(root)) as daemon:
        daemon.start()
        daemon.settled()
        drawing(1).save(os.fsdecode(root) + "/second.png")
        daemon.wait_for("near_duplicate")
        assert daemon.ctl("status").returncode == 0
        assert daemon.ctl("find", os.fsdecode(root) + "/first.png").returncode == 0
        assert daemon.stop() == 0
        drawing(1).save(os.fsdecode(root) + "/third.png")
        daemon.start()
        daemon.wait_for("near_duplicate")
        assert daemon.stop() == 0

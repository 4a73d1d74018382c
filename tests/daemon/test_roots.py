"""The roots, and paths in them by other names."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from host_pair import Host, png
from patience import wait_for

from shazimd.config import WatchConfig
from shazimd.daemon.main import parser, settings
from shazimd.daemon.roots import Roots, check_presence, configured_roots
from shazimd.errors import ConfigError, NotFound, UsageError
from shazimd.ingest.rules import MatchSettings
from shazimd.ingest.values import set_baseline
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import DEFAULT_WEIGHTS, FileRow, FileState, Stat, Verdict


def test_a_path_is_accepted_by_the_name_of_its_root_and_by_its_real_name(tmp_path: Path) -> None:
    """Whether the configuration names the link or the directory; a path elsewhere stays as it is."""
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    store = open_store(str(tmp_path / "store"), 64 << 20)
    for configured, other in (("link", "real"), ("real", "link")):
        roots = Roots(configured_roots([WatchConfig(path=str(tmp_path / configured))]), store, alert_on_baseline=False)
        for below in ("", "/below", "/below/gone.jpg"):
            own = os.fsencode(f"{tmp_path / configured}{below}")
            assert {own} == {roots.known_path(own), roots.known_path(os.fsencode(f"{tmp_path / other}{below}"))}
        assert b"/elsewhere/a.jpg" == roots.known_path(b"/elsewhere/a.jpg")
    store.close()


def test_files_of_a_former_root_that_is_now_a_link_are_forgotten_alone(tmp_path: Path) -> None:
    """Not those of the root that it leads to; that root itself still has its other names."""
    with closing(Host(tmp_path, None)) as host:
        former, other = tmp_path / "former", tmp_path / "other"
        for link in (former, other):
            link.symlink_to(host.root)
        png(host.root, 1)
        (host.root / "broken.png").write_bytes(b"\x89PNG broken")
        wait_for(lambda: host.service.status()["failed"] == 1)
        host.known(1)
        stale = FileRow(Stat(1, 1, 1), FileState.FAILED, reason="not_an_image")
        for name in ("a.png", "b.png"):
            host.app.store.write(partial(Writer.put_file, path=os.fsencode(former / name), row=stale))
        with pytest.raises(NotFound, match="lies in none of the watched directories"):
            host.service.forget(os.fsencode(former), ignore=True)
        assert host.service.retry_failed(os.fsencode(former)) == 2
        assert host.service.forget(os.fsencode(former))["forgotten"] == 2
        assert host.service.status()["images"] == 1
        assert host.service.retry_failed(os.fsencode(other)) == 1
        assert host.service.forget(os.fsencode(other))["forgotten"] == 2


@pytest.mark.parametrize("target", ["outer", "outer/inner"])
def test_a_root_that_is_a_link_into_another_is_refused(tmp_path: Path, target: str) -> None:
    """Each of its files would be known twice."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(target)
    with pytest.raises(ConfigError, match="expected roots side by side"):
        configured_roots([WatchConfig(path=str(tmp_path / "outer")), WatchConfig(path=str(tmp_path / "alias"))])


def test_an_absent_root_is_one_that_the_store_knows(tmp_path: Path) -> None:
    """It may be on a disk that is mounted later. Of another, a variable that is not set is named."""
    store = open_store(str(tmp_path / "store"), 64 << 20)
    roots = configured_roots([WatchConfig(path="/mnt/$NOSUCH/photos")])
    with pytest.raises(ConfigError, match="no such directory; set the variable NOSUCH, or create or mount it"):
        check_presence(roots, store)
    store.write(lambda writer: set_baseline(writer, b"/mnt/$NOSUCH/photos"))
    check_presence(roots, store)
    store.close()


def test_a_path_in_no_root_may_hang(tmp_path: Path) -> None:
    """Nothing watches it, as the files of a share that was taken out of the configuration: its mount point counts. In
    a root the watch tells."""
    root = os.fsencode(tmp_path)
    store = open_store(str(tmp_path / "store"), 64 << 20)
    watched = configured_roots([WatchConfig(path=str(tmp_path))])
    roots = Roots(watched, store, alert_on_baseline=False, stalling=lambda *asked: b" of ".join(reversed(asked)))
    store.close()
    assert (b"/proc", True) == (roots.stalling(b"/proc/gone/a.jpg"), roots.may_stall(b"/proc/gone/a.jpg"))
    assert root + b"/a.jpg of " + root == roots.stalling(root + b"/a.jpg")


def test_a_root_that_is_a_link_to_an_absent_disk_is_one_that_the_store_knows(tmp_path: Path) -> None:
    """As without the link: else the daemon would end for all roots when it starts before one disk is mounted."""
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "photos")
    store = open_store(str(tmp_path / "store"), 64 << 20)
    roots = configured_roots([WatchConfig(path=str(tmp_path / "link"))])
    with pytest.raises(ConfigError, match="no such directory"):
        check_presence(roots, store)
    store.write(lambda writer: set_baseline(writer, os.fsencode(tmp_path / "link")))
    check_presence(roots, store)
    store.close()


def test_a_root_with_two_tables_is_refused(tmp_path: Path) -> None:
    """Only one could count, and the other's keys would be lost without a word."""
    watch = [WatchConfig(path=str(tmp_path), reference=True), WatchConfig(path=f"{tmp_path}/")]
    with pytest.raises(ConfigError, match=r"is watched by two \[\[watch\]\] tables, expected one"):
        configured_roots(watch)


def test_a_directory_of_the_command_line_has_its_table_of_the_file(tmp_path: Path) -> None:
    """The other directories come after it, each once."""
    (tmp_path / "c.toml").write_text('[[watch]]\npath = "/srv/photos/"\nreference = true\n')
    words = ["--config", str(tmp_path / "c.toml"), "/srv/photos", "/srv/other", "/srv/other/"]
    watched = settings(parser().parse_args(words)).watch
    assert [("/srv/photos", True), ("/srv/other", False)] == [
        (root.path.rstrip("/"), root.reference) for root in watched
    ]


def test_an_empty_directory_of_the_command_line_is_refused() -> None:
    """It would be taken for the working directory."""
    with pytest.raises(UsageError, match='DIR is "", expected a directory'):
        settings(parser().parse_args([""]))


def test_a_root_has_criteria_of_its_own_and_the_general_ones_for_the_rest(tmp_path: Path) -> None:
    """The verdicts of one root, the threshold of another; elsewhere all are the general ones."""
    for name in ("archive", "shop"):
        (tmp_path / name).mkdir()
    watch = [
        WatchConfig(path=str(tmp_path / "archive"), verdicts=(Verdict.EXACT,)),
        WatchConfig(path=str(tmp_path / "shop"), threshold=0.9),
    ]
    general = MatchSettings(0.75, DEFAULT_WEIGHTS, frozenset([Verdict.EXACT, Verdict.COPY]))
    store = open_store(str(tmp_path / "store"), 64 << 20)
    roots = Roots(configured_roots(watch), store, alert_on_baseline=False)
    archive, shop, other = (
        roots.matching(os.fsencode(tmp_path / name / "a.jpg"), general) for name in ("archive", "shop", "other")
    )
    store.close()
    assert (archive.verdicts, archive.threshold) == (frozenset([Verdict.EXACT]), 0.75)
    assert (shop.verdicts, shop.threshold) == (general.verdicts, 0.9)
    assert other == general


def test_a_first_scan_is_silent_as_its_root_says(tmp_path: Path) -> None:
    """One root raises alerts in its first scan, another does not, whatever the general setting."""
    watch = []
    for name, own in (("told", True), ("silent", False), ("general", None)):
        (tmp_path / name).mkdir()
        watch.append(WatchConfig(path=str(tmp_path / name), on_baseline=own))
    store = open_store(str(tmp_path / "store"), 64 << 20)
    for general in (False, True):
        roots = Roots(configured_roots(watch), store, alert_on_baseline=general)
        silent = [roots.silent(os.fsencode(root.path) + b"/a.jpg") for root in watch]
        assert silent == [False, True, not general]
    store.close()


def test_a_new_root_stays_silent_for_its_time(tmp_path: Path) -> None:
    """From the beginning of the first scan, also after its end and after a restart, and by the store's clock."""
    (tmp_path / "import").mkdir()
    root, now = os.fsencode(tmp_path / "import"), 1e9
    watch = [WatchConfig(path=str(tmp_path / "import"), silent_for="12h")]
    store = open_store(str(tmp_path / "store"), 64 << 20, clock=lambda: now)
    roots = Roots(configured_roots(watch), store, alert_on_baseline=False)
    assert roots.silent_s(root) == 12 * 3600
    store.write(roots.begin)
    store.write(lambda writer: set_baseline(writer, root))
    now += 11 * 3600
    roots = Roots(configured_roots(watch), store, alert_on_baseline=False)
    assert (roots.unbegun, roots.silent_s(root), roots.silent(root + b"/a.jpg")) == (set(), 3600, True)
    now += 3600
    assert (roots.silent_s(root), roots.silent(root + b"/a.jpg")) == (0, False)
    store.close()

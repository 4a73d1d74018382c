from __future__ import annotations

import os
import pwd
import threading
from pathlib import Path

import pytest
from patience import wait_for
from running import Daemon, draw
from spoiled_rows import spoil

from shazimd.cli import run
from shazimd.store.lmdb_store import open_store

GiB = 1 << 30


def ctl(daemon: Daemon, *words: str) -> int:
    return run(["--socket", daemon.socket, "store", "--store", str(daemon.folder / "store"), *words])


def rows(path: Path) -> dict[bytes, object]:
    """Every file that a store knows, with its row."""
    store = open_store(str(path), GiB)
    try:
        with store.read() as reader:
            return dict(reader.walk(b"/"))
    finally:
        store.close()


def test_a_backup_of_a_running_daemon_is_consistent(daemon: Daemon, tmp_path: Path) -> None:
    """Copies made while pictures land are whole stores, and hold what was known when they were begun."""
    landing = threading.Event()

    def land() -> None:
        for number in range(20):
            draw(daemon.photos / f"more{number}.png", number)
            landing.set()

    thread = threading.Thread(target=land)
    thread.start()
    landing.wait()
    assert [ctl(daemon, "backup", str(tmp_path / f"b{number}")) for number in range(3)] == [0, 0, 0]
    thread.join()
    daemon.wait_ready()
    wait_for(lambda: daemon.client.status()["images"] == len(os.listdir(daemon.photos)))
    assert ctl(daemon, "backup", str(tmp_path / "last")) == 0
    daemon.stop()
    assert rows(tmp_path / "last") == rows(daemon.folder / "store")
    known = rows(daemon.folder / "store")
    for number in range(3):
        copy = rows(tmp_path / f"b{number}")
        assert len(copy) >= 3
        assert copy.items() <= known.items()


def test_restoring_brings_back_what_was(daemon: Daemon, tmp_path: Path) -> None:
    """After a restore the daemon knows what it knew when the copy was made, and decodes nothing for it."""
    assert ctl(daemon, "backup", str(tmp_path / "b")) == 0
    before = set(rows(tmp_path / "b"))
    daemon.client.forget(os.fsencode(daemon.photos))
    daemon.stop()
    assert rows(daemon.folder / "store") == {}
    assert ctl(daemon, "restore", str(tmp_path / "b")) == 0
    daemon.start()
    assert b'shazimd_image_duration_seconds_count{decoded="yes"}' not in daemon.client.metrics()
    found = daemon.client.find((daemon.photos / "1.png").read_bytes())["matches"]
    assert {os.fsencode(match["path"]) for match in found} <= before
    assert found


def test_a_restore_under_a_running_daemon_is_refused(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store is left alone, and the process that has it is named."""
    ctl(daemon, "backup", str(tmp_path / "b"))
    assert ctl(daemon, "restore", str(tmp_path / "b")) == 5
    assert f"held by process {daemon.process.pid}" in capsys.readouterr().err
    assert daemon.client.status()["images"] == len(os.listdir(daemon.photos))


def test_a_damaged_copy_is_not_restored(daemon: Daemon, tmp_path: Path) -> None:
    """What is no whole store never takes the place of one."""
    ctl(daemon, "backup", str(tmp_path / "b"))
    daemon.stop()
    data = tmp_path / "b" / "data.mdb"
    data.write_bytes(data.read_bytes()[:5000])
    before = rows(daemon.folder / "store")
    assert ctl(daemon, "restore", str(tmp_path / "b")) == 5
    assert rows(daemon.folder / "store") == before


def test_a_backup_never_overwrites(daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that exists is an error, whatever lies there."""
    (tmp_path / "b").mkdir()
    assert ctl(daemon, "backup", str(tmp_path / "b")) == 5
    assert "b: exists, expected the name of a new directory" in capsys.readouterr().err
    assert os.listdir(tmp_path / "b") == []


def test_checking_beside_a_daemon(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound store is said to be well, while the daemon goes on."""
    assert ctl(daemon, "check") == 0
    assert capsys.readouterr().out == "no problems found\n"
    assert daemon.client.status()["state"] == "ready"


def test_compacting_with_and_without_a_daemon(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon does it when it runs; otherwise the command does."""
    assert ctl(daemon, "compact") == 0
    assert "before" in capsys.readouterr().out
    assert daemon.client.status()["images"] == len(os.listdir(daemon.photos))
    daemon.stop()
    before = rows(daemon.folder / "store")
    assert ctl(daemon, "compact") == 0
    assert rows(daemon.folder / "store") == before


def test_compacting_another_store_beside_a_daemon(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command does it, and the daemon's store is left alone; its own store may be named by another path."""
    assert ctl(daemon, "backup", str(tmp_path / "b")) == 0
    (tmp_path / "link").symlink_to(daemon.folder / "store")
    data = daemon.folder / "store" / "data.mdb"
    before = data.stat().st_ino, rows(tmp_path / "b")
    capsys.readouterr()
    assert run(["--socket", daemon.socket, "store", "--store", str(tmp_path / "b"), "compact"]) == 0
    assert capsys.readouterr().out == "compacted\n"
    assert (data.stat().st_ino, rows(tmp_path / "b")) == before
    assert run(["--socket", daemon.socket, "store", "--store", str(tmp_path / "link"), "compact"]) == 0
    assert "before" in capsys.readouterr().out


def test_the_file_that_a_repair_kept_is_named_until_it_is_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures forgotten later are still there."""
    store = open_store(str(tmp_path), GiB)
    store.write(lambda w: w.set("a", 1))
    spoil(store, "values")
    store.close()
    words = ["--socket", str(tmp_path / "none"), "store", "--store", str(tmp_path)]
    kept = tmp_path / "data.mdb.damaged"
    since = "has what was forgotten since the repair, too: delete it once it is not needed"
    line = f"shazimctl: {kept} {since}\n"
    assert run([*words, "repair"]) == 0
    assert [line] == capsys.readouterr().err.splitlines(keepends=True)
    assert run([*words, "compact"]) == 0
    assert [line] == capsys.readouterr().err.splitlines(keepends=True)
    kept.unlink()
    assert run([*words, "compact"]) == 0
    assert capsys.readouterr().err == ""


def test_no_store(daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without a store is named, and none is made."""
    status = run(["store", "--store", str(tmp_path), "check"])
    assert status == 4
    assert "no store is there" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_root_leaves_no_file_that_the_daemon_cannot_open(
    daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What root does with a store of another user leaves all of it that user's."""
    if os.geteuid() != 0:
        pytest.skip("it needs root")
    daemon.stop()
    nobody = pwd.getpwnam("nobody")
    store = daemon.folder / "store"
    for path in (store, *store.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # of one of several processes, below that of the run
        base = base.parent
    for path in (daemon.folder, *daemon.folder.parents):
        if path.name.startswith("pytest-") or path.is_relative_to(base):
            path.chmod(0o755)
    backup = daemon.folder / "backup"
    for words in (["check"], ["backup", str(backup)], ["compact"], ["restore", str(backup)]):
        assert ctl(daemon, *words) == 0
    assert {path.owner() for path in store.rglob("*")} == {"nobody"}
    assert backup.owner() == "root"

"""Disks that are full, failing or away: the daemon says so once, keeps answering, and goes on when it can."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import wait_for
from world import World, check_store, picture, world

from shazimd.errors import Unavailable
from shazimd.server.cluster_verbs import FORGET_FOREIGN

MIB = 1 << 20


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disk(mount: Callable[..., Path]) -> Path:
    return mount("disk", "-t", "tmpfs", "-o", "size=16m", "none")


@pytest.fixture
def running(tmp_path: Path, small_disk: Path) -> Iterator[World]:
    """A daemon at rest, whose store lies on a small disk, in a directory whose name is not UTF-8."""
    with world(tmp_path) as running:
        running.store = small_disk / os.fsdecode(b"store\xff")
        (running.root / "first.ppm").write_bytes(picture(0))
        running.start()
        running.rest()
        yield running


def finds(running: World, number: int) -> list[str]:
    return [os.path.basename(match["path"]) for match in running.client.find(picture(number))["matches"]]


def fill(disk: Path) -> Path:
    """Take what room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk was never full")


def land_until_it_complains(running: World) -> int:
    """Pages that were freed may take a few writes more; how many pictures landed."""
    number = 0

    def complains() -> bool:
        nonlocal number
        number += 1
        (running.root / f"{number}.ppm").write_bytes(picture(number))
        return bool(running.events("store_not_writable"))

    wait_for(complains)
    return number


def expect_all_taken_in(running: World) -> None:
    running.wait_for("store_writable_again")
    running.rest()
    known = running.known()
    assert running.on_disk() == known.files
    assert {1} == set(running.decoded().values())
    assert 0 == running.stop()
    check_store(running.store)


def test_a_full_disk_holds_up_taking_in_and_nothing_else(running: World, small_disk: Path) -> None:
    """One line says so, questions are answered, and with room it goes on; nothing is decoded twice for it."""
    ballast = fill(small_disk)
    landed = land_until_it_complains(running)
    assert ["first.ppm"] == finds(running, 0)
    assert "No space left on device" in str(running.client.status()["store"]["fault"])
    assert running.client.status()["pending"] > 0
    copy = running.root / "copy.ppm"
    shutil.copy(running.root / f"{landed}.ppm", copy)
    assert 1 == len(running.events("store_not_writable"))
    ballast.unlink()
    expect_all_taken_in(running)
    assert 1 == len(running.events("store_not_writable"))


def test_verbs_that_write_are_refused_while_the_disk_is_full(running: World, small_disk: Path) -> None:
    """Waiting, a few of them would take all threads of the verbs, and nothing would be answered any more."""
    fill(small_disk)
    land_until_it_complains(running)
    client, path = running.client, os.fsencode(running.root / "first.ppm")
    verbs: list[Callable[[], object]] = [
        lambda: client.forget(deleted=True),
        lambda: client.forget(path),
        lambda: client.forget(path, ignore=True),
        lambda: client.unignore(path),
        lambda: client.decide([{"kind": "not_duplicates", "contents": ["00" * 32, "01" * 32]}], accept_unknown=True),
        lambda: client.undo(1),
        lambda: client.ask(FORGET_FOREIGN, host="nas"),
    ]
    for verb in (*verbs, *verbs):
        with pytest.raises(Unavailable, match=r"not writable at present: .*No space left"):
            verb()
    assert client.status()["store"]["fault"]


def test_a_daemon_stops_though_its_disk_is_full(running: World, small_disk: Path) -> None:
    """It waits for no room; what it had in hand is found again at the next start."""
    ballast = fill(small_disk)
    land_until_it_complains(running)
    assert 0 == running.stop()
    assert not running.events("job_failed")
    ballast.unlink()
    running.start()
    running.rest()
    assert running.on_disk() == running.known().files


def test_a_store_that_turns_read_only_is_waited_for(tmp_path: Path, mount: Callable[..., Path]) -> None:
    """As the kernel does to a disk with errors; mounted anew, all that was kept is there, and the rest is taken in."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is needed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    run("mkfs.ext4", "-q", str(image))
    disk = mount("disk", "-o", "loop", str(image))
    with world(tmp_path) as running:
        running.store = disk / "store"
        (running.root / "first.ppm").write_bytes(picture(0))
        running.start()
        running.rest()
        run("mount", "-o", "remount,abort", str(disk))
        (running.root / "1.ppm").write_bytes(picture(1))
        running.wait_for("store_not_writable")
        assert (["first.ppm"], []) == (finds(running, 0), finds(running, 1))
        assert 0 == running.stop()
        assert 1 == len(running.events("store_not_writable"))
        run("umount", str(disk))
        # As it lies on the disk: a booted test machine may still hold the old mount, which would be mounted again.
        shutil.copyfile(image, tmp_path / "same image")
        mount("disk", "-o", "loop", str(tmp_path / "same image"))
        running.start()
        running.rest()
        assert running.on_disk() == running.known().files
        assert {1} == set(running.decoded().values())
        assert 0 == running.stop()
        check_store(running.store)


def test_an_unmounted_root_keeps_its_rows_until_it_is_back(tmp_path: Path, mount: Callable[..., Path]) -> None:
    """Nothing is forgotten, decoded again or told again; what landed on it meanwhile is found."""
    disk = mount("disk", "-t", "tmpfs", "none")
    (tmp_path / "root").mkdir()
    run("mount", "--bind", str(disk), str(tmp_path / "root"))
    with world(tmp_path) as running:
        try:
            for number in range(20):
                (running.root / f"{number}.ppm").write_bytes(picture(number))
            running.start()
            running.rest()
            before = running.known()
            run("umount", str(running.root))
            running.wait_for("root_unavailable")
            assert 20 == running.client.status()["images"]
            (disk / "late.ppm").write_bytes(picture(3))
            assert before == running.known()
            run("mount", "--bind", str(disk), str(running.root))
            running.wait_for("near_duplicate", path=str(running.root / "late.ppm"))
            running.rest()
            assert running.on_disk() == running.known().files
            assert {1} == set(running.decoded().values())
            run("umount", str(running.root))
            running.kill()
            running.start()  # away at the start, too
            running.wait_for("root_unavailable")
            assert 21 == running.client.status()["images"]
            run("mount", "--bind", str(disk), str(running.root))
            running.wait_for("root_watched")
            running.rest()
            assert (21, []) == (running.client.status()["images"], running.events("image_indexed"))
        finally:
            if running.root.is_mount():
                run("umount", "--lazy", str(running.root))

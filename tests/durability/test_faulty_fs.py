"""File systems that fail: reads end in EIO and ESTALE, or a mount stalls, as of a server that is gone."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_fs import FaultyFileSystem, faulty_file_system
from world import World, picture, world

CONFIG = """
[[watch]]
path = {faulty}
poll_interval_s = 1
settle_ms = 30

[[watch]]
path = {sound}
settle_ms = 30

[alerts]
verdicts = ["exact"]

[workers]
processes = 1
"""


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyFileSystem]:
    """A mounted file system with faults; skips the test where there can be none."""
    try:
        with faulty_file_system(tmp_path / "faulty") as made:
            yield made
    except OSError as error:
        pytest.skip(f"a file system in user space is needed, which takes root and /dev/fuse: {error}")


@pytest.fixture
def running(tmp_path: Path, faulty: FaultyFileSystem) -> Iterator[World]:
    """A daemon that watches the faulty file system and a sound root."""
    with world(tmp_path) as made:
        text = CONFIG.format(faulty=json.dumps(str(faulty.point)), sound=json.dumps(str(made.root)))
        (tmp_path / "config.toml").write_text(text)
        faulty.files = {f"{number}.ppm": picture(number) for number in range(4)}
        yield made


def states(running: World, faulty: FaultyFileSystem) -> dict[str, bool]:
    """Whether the files of the faulty file system are known with a content."""
    prefix = os.fsencode(faulty.point) + b"/"
    known = running.known().files
    return {
        os.fsdecode(path[len(prefix) :]): bool(content) for path, content in known.items() if path.startswith(prefix)
    }


@pytest.mark.parametrize("fault", [errno.EIO, errno.ESTALE])
def test_a_file_whose_reads_fail_is_read_when_they_succeed(
    running: World, faulty: FaultyFileSystem, fault: int
) -> None:
    """It fails with the reason, and the others do not; a known file keeps its content."""
    faulty.faults = {"0.ppm": fault}
    running.start()
    running.rest()
    assert {"0.ppm": False, "1.ppm": True, "2.ppm": True, "3.ppm": True} == states(running, faulty)
    assert [os.strerror(fault)] == [event["reason"].split(": ")[1] for event in running.events("image_failed")]
    faulty.faults = {"1.ppm": fault}
    running.wait_until(lambda: all(states(running, faulty).values()))
    assert {f"{number}.ppm" for number in range(4)} == states(running, faulty).keys()


def test_a_stalled_mount_holds_up_no_other_root(running: World, faulty: FaultyFileSystem) -> None:
    """Pictures that land elsewhere are known meanwhile. Their alerts name files on the mount: they are decided when it
    answers again, and so is the file that landed there. A stop stops, stalled or not."""
    running.start()
    running.rest()
    faulty.stall()
    faulty.files["late.ppm"] = picture(9)
    for number in range(3):
        (running.root / f"{number}.ppm").write_bytes(picture(number))
    running.wait_until(lambda: len(on_sound_root(running)) == 3)
    faulty.flow()
    running.wait_until(lambda: states(running, faulty).get("late.ppm"))
    running.wait_until(lambda: len(running.events("near_duplicate")) == 3)
    running.rest()
    faulty.stall()
    (running.root / "last.ppm").write_bytes(picture(0))
    running.wait_until(lambda: len(on_sound_root(running)) == 4)
    running.wait_until(faulty.is_asked)
    assert 0 == running.stop()


def on_sound_root(running: World) -> list[bytes]:
    """The files known there with a content."""
    known = running.known().files
    return [path for path in known if os.path.dirname(path) == os.fsencode(running.root) and known[path]]

"""The life of a picture after its file was deleted, with a real daemon."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import wait_for
from running import Daemon, draw

from shazimd.cli import run
from shazimd.store.lmdb_store import open_store
from shazimd.words.packing import FEATURE, HEADER

PART_BYTES = 32
"""Local features are stored in pieces, so their bytes are looked for in small parts."""


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Daemon]:
    """Starts a daemon of its own with a grace and three pictures; stopped at the end by the test."""

    def start(keep_deleted: str) -> Daemon:
        daemon = Daemon(tmp_path)
        text = daemon.config.read_text().replace("[store]", f'[store]\nkeep_deleted = "{keep_deleted}"')
        daemon.config.write_text(text)
        for number in range(3):
            draw(daemon.photos / f"{number}.png", 3 * number)
        daemon.start()
        return daemon

    return start


def decoded(daemon: Daemon) -> int:
    prefix = 'shazimd_image_duration_seconds_count{decoded="yes"} '
    lines = daemon.client.metrics().decode().splitlines()
    return int(float(next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "0")))


def contents(daemon: Daemon) -> int:
    return daemon.client.status()["contents"]


def test_a_deleted_picture_is_collected(fresh: Callable[..., Daemon]) -> None:
    """At once where that was asked for; a root that is away keeps all it had, and is not decoded again."""
    daemon = fresh("0")
    (daemon.photos / "1.png").unlink()
    wait_for(lambda: contents(daemon) == 2)
    before = decoded(daemon)
    away = daemon.photos.with_name("away")
    daemon.photos.rename(away)
    wait_for(lambda: daemon.client.status()["roots"][0]["state"] == "unavailable")
    wait_for(lambda: sum("deleted_contents_removed" in line for line in daemon.events()) == 1)
    assert contents(daemon) == 2
    away.rename(daemon.photos)
    wait_for(lambda: daemon.client.status()["roots"][0]["state"] != "unavailable")
    wait_for(daemon._is_ready)
    assert (contents(daemon), daemon.client.status()["images"], decoded(daemon)) == (2, 2, before)
    daemon.stop()


def test_a_picture_that_comes_back_within_the_grace_is_not_decoded(fresh: Callable[..., Daemon]) -> None:
    """Its content is still known."""
    daemon = fresh("1h")
    data = (daemon.photos / "1.png").read_bytes()
    (daemon.photos / "1.png").unlink()
    wait_for(lambda: daemon.client.status()["images"] == 2)
    before = decoded(daemon)
    (daemon.photos / "back.png").write_bytes(data)
    wait_for(lambda: daemon.client.status()["images"] == 3)
    assert (contents(daemon), decoded(daemon)) == (3, before)
    daemon.stop()


def test_the_root_directory_is_not_forgotten(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """`forget /` is bad input with a clear message, and the daemon keeps its images and logs no traceback."""
    images = daemon.client.status()["images"]
    assert run(["--socket", daemon.socket, "forget", "/"]) == 4
    assert capsys.readouterr().err == (
        "shazimctl: /: expected a file or directory below /, with names of at most 495 bytes\n"
    )
    assert daemon.client.status()["images"] == images
    assert not any("Traceback" in event for event in daemon.events())


def test_an_ignored_picture_stays_out_until_that_is_taken_back(
    fresh: Callable[..., Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a rescan, a change, a move into an ignored directory, a reload and a restart; then it is known again."""
    daemon = fresh("30d")

    def ctl(*words: str) -> tuple[int, str, str]:
        status = run(["--socket", daemon.socket, *words])
        return status, *capsys.readouterr()

    def known() -> set[str]:
        walked = (daemon.client.find(path.read_bytes())["matches"] for path in daemon.photos.rglob("*.png"))
        return {os.path.relpath(match["path"], daemon.photos) for found in walked for match in found}

    def all_done() -> None:
        daemon.client.rescan()
        wait_for(daemon._is_ready)

    folder = daemon.photos / "private"
    folder.mkdir()
    picture = str(daemon.photos / "1.png")
    assert ctl("forget", "--ignored")[0] == 1
    assert ctl("forget", "--ignore", picture)[1] == (
        f"Forgot 1 image(s)\n{picture} stays out until: shazimctl forget --unignore PATH\n"
    )
    assert ctl("forget", "--ignore", str(folder))[0] == 0
    draw(daemon.photos / "1.png", 12)
    (daemon.photos / "2.png").rename(folder / "2.png")
    draw(folder / "3.png", 15)
    all_done()
    assert known() == {"0.png"}
    daemon.client.reload()
    daemon.stop()
    daemon.start()
    all_done()
    assert known() == {"0.png"}
    assert ctl("forget", "--ignored") == (0, f"{picture}\n{folder}\n", "")
    alias = daemon.folder / "alias"
    alias.symlink_to(daemon.photos)
    for path in (str(alias / "1.png"), str(folder)):
        assert ctl("forget", "--unignore", path)[0] == 0
    wait_for(lambda: known() == {"0.png", "1.png", "private/2.png", "private/3.png"})
    assert ctl("forget", "--unignore", picture) == (
        4,
        "",
        f"shazimctl: {picture} is not ignored; see: shazimctl forget --ignored\n",
    )
    daemon.stop()


def test_forgetting_says_what_comes_back(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that still lies in a root is indexed again; one that is gone, or outside the roots, is not."""
    picture = daemon.photos / "1.png"
    assert run(["--socket", daemon.socket, "forget", str(picture)]) == 0
    assert capsys.readouterr().err == (
        f"shazimctl: {picture} still lies there and comes back after its next change or scan; see --ignore\n"
    )
    daemon.client.rescan()
    wait_for(daemon._is_ready)
    assert run(["--socket", daemon.socket, "forget", str(daemon.photos / "never.png")]) == 1
    assert run(["--socket", daemon.socket, "forget", "/usr"]) == 1
    assert capsys.readouterr().err == ""
    assert run(["--socket", daemon.socket, "forget", "--ignore", "/usr/lib"]) == 4
    assert "/usr/lib: lies in none of the watched directories" in capsys.readouterr().err
    assert run(["--socket", daemon.socket, "forget", "--ignore", "--deleted"]) == 2


@pytest.mark.parametrize("words", [["--deleted"], ["--content"], ["PATH"]])
def test_a_forgotten_picture_leaves_no_trace(
    fresh: Callable[..., Daemon], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the answers, and after compacting not in a byte of the store's files: no digest, no pixels, no luma
    picture, no features. All of that of the other pictures is there."""
    daemon = fresh("30d")
    pictures = [daemon.photos / f"{n}.png" for n in range(3)]
    digests = [hashlib.blake2b(path.read_bytes(), digest_size=32).digest() for path in pictures]
    daemon.stop()
    traces = [_traces(daemon.folder / "store", digest) for digest in digests]
    data = pictures[1].read_bytes()
    daemon.start()
    if words == ["--deleted"]:
        pictures[1].unlink()
        wait_for(lambda: daemon.client.status()["images"] == 2)
    words = {"--content": ["--content", digests[1].hex()], "PATH": [str(pictures[1])]}.get(words[0], words)
    assert contents(daemon) == 3
    assert run(["--socket", daemon.socket, "forget", *words]) == 0
    assert "Forgot 1" in capsys.readouterr().out
    assert contents(daemon) == 2
    assert os.fsdecode(pictures[1]) not in [match["path"] for match in daemon.client.find(data)["matches"]]
    assert run(["--socket", daemon.socket, "store", "compact"]) == 0
    for stage in ("while the daemon runs", "after it was stopped"):
        raw = _all_bytes(daemon.folder / "store")
        found = [sum(trace in raw for trace in each) for each in traces]
        assert found == [len(traces[0]), 0, len(traces[2])], stage
        if daemon.process.poll() is None:
            daemon.stop()


def _traces(path: Path, digest: bytes) -> list[bytes]:
    """What the store has of a content, in parts: all of them are in its file while it is known."""
    store = open_store(str(path), 1 << 30)
    with store.read() as reader:
        content = reader.content(digest)
        assert content is not None
        fingerprint = reader.fingerprint(content, None)
    store.close()
    packed = fingerprint.features
    luma = packed[HEADER.size + HEADER.unpack_from(packed)[4] * FEATURE.itemsize :]
    assert luma.startswith((b"\xff\xd8", b"RIFF", b"\x89PNG"))
    parts = [packed[at : at + PART_BYTES] for at in range(HEADER.size, len(packed) - PART_BYTES, PART_BYTES)]
    distinct = [part for part in parts if len(set(part)) > PART_BYTES // 2]  # a table of a JPEG is in each of them
    own = [part for part in distinct if part in luma[300:] or part not in luma]
    assert fingerprint.pixels is not None
    assert len(own) > 30
    raw = _all_bytes(path)
    return [digest, fingerprint.pixels, *(part for part in own if part in raw)]


def _all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shazimd.posix import files


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    """The new content and mode are in place, and nothing else lies beside the file."""
    path = tmp_path / "position"
    for text in (b"1", b"22"):
        files.atomic_write(str(path), text, mode=0o640)
        assert (text, 0o640) == (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    assert [path] == list(tmp_path.iterdir())


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the old content stays, and the half of the new one goes."""
    path = tmp_path / "manifest"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.atomic_write(str(path), b"new")
    assert (b"old", [path]) == (path.read_bytes(), list(tmp_path.iterdir()))


def test_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed, renamed, then its directory is flushed: a power cut in between leaves a whole file."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_rename(source: str, target: str) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    files.atomic_write(str(tmp_path / "a"), b"content")
    assert ["file", "rename", "directory"] == steps


def test_a_lock_is_held_by_one_open_file(tmp_path: Path) -> None:
    """A second open file gets the lock only after the first was closed, even in the same process."""
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert [True, False] == [files.try_lock(first), files.try_lock(second)]
    os.close(first)
    assert files.try_lock(second)
    os.close(second)

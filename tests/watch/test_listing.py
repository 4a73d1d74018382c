"""Entries of a directory: links that lead nowhere, or where nothing can be asked."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shazimd.config import WatchConfig
from shazimd.watch.filters import Filter
from shazimd.watch.listing import count_files, entries, subdirectories


@pytest.mark.parametrize("link", ["a link to itself", "a.jpg/x", "n" * 300])
def test_a_link_that_leads_nowhere_is_passed_over(tmp_path: Path, link: str) -> None:
    """It ends no listing: the other entries are found."""
    rules = _tree(tmp_path)
    for name in ("link", "link.jpg"):
        (tmp_path / name).symlink_to(name if link == "a link to itself" else link)
    found = entries(bytes(tmp_path), rules)
    assert ({b"a.jpg"}, [b"d"]) == (set(found.files), found.directories)
    assert [b"d"] == subdirectories(bytes(tmp_path), rules)
    assert 2 == count_files(bytes(tmp_path), rules, lambda: False)


def test_a_link_out_of_reach_may_be_a_file_or_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the target nothing is known now, and nothing known of it is missing."""
    rules = _tree(tmp_path)
    for name in ("link", "link.jpg"):
        (tmp_path / name).symlink_to("d")
    scandir = os.scandir

    @contextmanager
    def scan(path: bytes) -> Iterator[list[object]]:
        with scandir(path) as found:
            yield [_OutOfReach(entry) if entry.is_symlink() else entry for entry in found]

    monkeypatch.setattr(os, "scandir", scan)
    found = entries(bytes(tmp_path), rules)
    assert {b"a.jpg", b"link.jpg"} == set(found.files)
    assert found.files[b"link.jpg"] is None
    assert [b"d", b"link", b"link.jpg"] == found.directories == sorted(subdirectories(bytes(tmp_path), rules))


def _tree(top: Path) -> Filter:
    (top / "d").mkdir()
    for name in ("a.jpg", "d/b.jpg"):
        (top / name).touch()
    return Filter(WatchConfig(path=str(top), follow_symlinks=True))


class _OutOfReach:
    """An entry whose target can't be asked for, as below a directory that may not be entered."""

    def __init__(self, entry: os.DirEntry[bytes]) -> None:
        self.name = entry.name
        self.is_symlink = entry.is_symlink

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    is_dir = is_file = stat

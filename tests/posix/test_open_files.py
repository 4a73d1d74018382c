"""Who has a file open for writing, from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shazimd.posix.open_files import open_for_writing

HOLD = "import sys; file = open(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.read()"


def test_a_file_that_another_process_writes_is_told_from_others(tmp_path: Path) -> None:
    """By any name of it; reading does not count, nor a file of the same name elsewhere, nor after the close."""
    (tmp_path / "other").mkdir()
    paths = [tmp_path / "a.jpg", tmp_path / "other" / "a.jpg", tmp_path / "read.jpg"]
    for path in paths:
        path.write_bytes(b"x")
    names = [os.fsencode(path) for path in paths]
    for path, mode, expected in ((paths[0], "ab", {names[0]}), (paths[2], "rb", set())):
        command = [sys.executable, "-c", HOLD, str(path), mode]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            assert expected == open_for_writing(names)
            holder.communicate()
    assert set() == open_for_writing(names)


def test_a_descriptor_closed_meanwhile_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a program that writes many files: one is closed between the list of descriptors and the look at it."""
    path = tmp_path / "a.jpg"
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda of: [b"999999", *listed(of)] if of.endswith(b"/fd") else listed(of))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), "wb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert {os.fsencode(path)} == open_for_writing([os.fsencode(path)])
        holder.communicate()

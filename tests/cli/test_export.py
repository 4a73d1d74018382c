"""`shazimctl export` writes lines of JSON, or Parquet."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest
from fake_service import FakeService, serving

from shazimd.cli import run
from shazimd.errors import StoreError
from shazimd.protocol import ExportedFile
from shazimd.text import HASHES

FILE: ExportedFile = {
    "path": "/srv/p/a.jpg",
    "content": "ab" * 32,
    "size_bytes": 5,
    "mtime": 7.5,
    "width": 640,
    "height": 480,
    "format": "JPEG",
    "ah": "00000000000000ff",
    "dh": "0f00000000000001",
    "pixels": None,
    "low_information": False,
    "model": "m-1",
    "vector": b64encode(pack("<2f", 0.5, -0.25)).decode(),
}
OTHER: ExportedFile = {
    **FILE,
    "path": "/srv/p/\\xff.jpg",
    "path_b64": "L3Nydi9wL/8uanBn",
    "model": None,
    "vector": None,
}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    service = FakeService()
    service.exported = [FILE, OTHER]
    monkeypatch.chdir(tmp_path)
    with serving(service, tmp_path) as path:
        monkeypatch.setenv("SHAZIMD_SOCKET", path)
        yield service


def test_lines_of_json(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """Vectors only when they are asked for."""
    assert run(["export", "--vectors"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [FILE, OTHER]
    assert run(["export"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["vector"] is None
    service.exported = []
    assert run(["export"]) == 1


def test_parquet(service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows, with vectors as numbers."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra export")
    assert run(["export", "--vectors", "--parquet", "out.parquet"]) == 0
    assert capsys.readouterr().err == "shazimctl: 2 images written to out.parquet\n"
    first, second = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert first == {**dict.fromkeys(each.name for each in HASHES), **FILE, "path_b64": None, "vector": [0.5, -0.25]}
    assert second == {**dict.fromkeys(each.name for each in HASHES), **OTHER}
    assert run(["export", "--parquet", "no/such/folder/x"]) == 4


@pytest.mark.parametrize("reason", ["a read-only directory", "another owner"])
def test_a_parquet_file_that_cannot_be_replaced_is_written(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """A file that the user may write, in a directory that the user may not, or of somebody else."""
    pytest.importorskip("pyarrow.parquet", reason="needs the extra export")
    file = tmp_path / "out.parquet"
    file.touch(0o666)
    if reason == "another owner":
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    else:
        monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    before = file.stat().st_ino
    assert run(["export", "--parquet", "out.parquet"]) == 0
    assert file.stat().st_size > 0
    assert file.stat().st_ino == before


def test_a_parquet_file_that_is_mounted_is_written(service: FakeService, tmp_path: Path) -> None:
    """As a single file into a container: nothing can be renamed over it."""
    pytest.importorskip("pyarrow.parquet", reason="needs the extra export")
    outside, file = tmp_path / "outside", tmp_path / "out.parquet"
    outside.touch()
    file.touch()
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", str(outside), str(file)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert run(["export", "--parquet", "out.parquet"]) == 0
    finally:
        subprocess.run(["umount", str(file)], check=True)
    assert outside.stat().st_size > 0


def test_a_parquet_file_keeps_its_owner(service: FakeService, tmp_path: Path) -> None:
    """Root, who asks with sudo, takes nobody's file away."""
    pytest.importorskip("pyarrow.parquet", reason="needs the extra export")
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    file = tmp_path / "out.parquet"
    file.touch(0o640)
    os.chown(file, 1000, 1001)
    assert run(["export", "--parquet", "out.parquet"]) == 0
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777, found.st_size > 0) == (1000, 1001, 0o640, True)


def test_a_parquet_file_stays_until_another_is_whole(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the daemon fails in between or is not there at all; mode and symlink stay, and no rest is left."""
    pytest.importorskip("pyarrow.parquet", reason="needs the extra export")
    assert run(["export", "--parquet", "out.parquet"]) == 0
    file, link = tmp_path / "out.parquet", tmp_path / "link"
    link.symlink_to(file)
    file.chmod(0o640)
    whole, names = file.read_bytes(), sorted(os.listdir(tmp_path))
    service.fails = StoreError("the store can't be read")
    assert run(["export", "--parquet", "link"]) == 5
    with monkeypatch.context() as patch:
        patch.setenv("SHAZIMD_SOCKET", "/nowhere")
        assert run(["export", "--parquet", "link"]) == 3
    assert (file.read_bytes(), sorted(os.listdir(tmp_path))) == (whole, names)
    service.fails, service.exported = None, [FILE]
    assert run(["export", "--parquet", "link"]) == 0
    assert file.read_bytes() != whole
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)

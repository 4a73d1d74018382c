from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shazimd.posix import identity

SCRIPT = """
import os, subprocess, sys
from shazimd.posix.identity import of_directory

point = os.fsencode(sys.argv[1])
found = []
for _ in range(2):
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    found += [of_directory(point, b"tmpfs"), of_directory(point, b"tmpfs")]
    subprocess.run(["umount", point], check=True)
for name in ("a", "b"):
    os.mkdir(point + name.encode())
    subprocess.run(["mount", "--bind", point + name.encode(), point], check=True)
    found.append(of_directory(point, b"ext4"))
    subprocess.run(["umount", point], check=True)
print(*found, sep="\\n")
"""


def test_a_directory_has_the_same_marks_each_time(tmp_path: Path) -> None:
    """Another one of the same file system has another inode; where inodes do not last, only the file system counts."""
    (tmp_path / "a").mkdir()
    a, b = os.fsencode(tmp_path / "a"), os.fsencode(tmp_path)
    assert identity.of_directory(a, b"ext4") == identity.of_directory(a, b"ext4") != identity.of_directory(b, b"ext4")
    assert identity.of_directory(a, b"vfat") == identity.of_directory(b, b"vfat")


def test_nothing_is_known_of_a_missing_directory(tmp_path: Path) -> None:
    assert "" == identity.of_directory(os.fsencode(tmp_path / "a"), b"ext4")


def test_proc_has_no_marks() -> None:
    """Its fsid is the number of its device, which depends on the order of mounts."""
    assert "" == identity.of_directory(b"/proc", b"proc")


def test_other_mounts_have_other_marks(tmp_path: Path) -> None:
    """Really mounted: one tmpfs after another, then one directory after another at the same point."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs root and unshare, to mount")
    (tmp_path / "p").mkdir()
    run = subprocess.run(
        [*unshare, sys.executable, "-c", SCRIPT, tmp_path / "p"], capture_output=True, text=True, check=True
    )
    first, again, second, second_again, a, b = run.stdout.splitlines()
    assert (first, second) == (again, second_again)
    assert len({first, second, a, b}) == 4

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import patience
import pytest

from shazimd.errors import WatchError
from shazimd.posix import mounts
from shazimd.posix.mounts import Mount, Mounts, is_at_or_below, parse


def test_names_are_unescaped() -> None:
    """Blank, tab, newline and backslash come as octal digits; optional fields come in any number."""
    line = rb"36 35 98:0 /sub /mnt/a\040b\011\012\134c rw,noatime master:1 propagate_from:2 - fuse.sshfs u@h:/x rw"
    assert [Mount(b"/mnt/a b\t\n\\c", b"fuse.sshfs", b"98:0")] == parse(line)


def test_a_line_ends_at_a_newline_alone() -> None:
    """The kernel writes other ends of lines as they are; a line that is cut off or empty is left out."""
    text = b"36 35 98:0 / /a\rb\x0c\x0bc rw - ext3 x rw\n\n37 35 98:0\n38 35 98:1 / /d rw - xfs x rw\n"
    assert [Mount(b"/a\rb\x0c\x0bc", b"ext3", b"98:0"), Mount(b"/d", b"xfs", b"98:1")] == parse(text)


@pytest.mark.parametrize("fstype", [b"ext4", b"xfs", b"btrfs", b"zfs", b"tmpfs", b"overlay", b"fuseblk", b"vfat"])
def test_local_file_systems_give_events(fstype: bytes) -> None:
    """All that is written there passes through this kernel."""
    assert Mount(b"/", fstype, b"0:1").gives_events


SHARED = (
    b"9p afs beegfs ceph cifs fuse fuse.mergerfs fuse.sshfs gfs2 gpfs lustre ncpfs nfs nfs4 ocfs2 panfs prl_fs pvfs2 "
    b"smb2 smb3 smbfs vboxsf virtiofs vmhgfs wekafs"
)


@pytest.mark.parametrize("fstype", SHARED.split())
def test_shared_file_systems_do_not(fstype: bytes) -> None:
    """Others write there too. The names are those of the kernel: OrangeFS is pvfs2, VMware's shared folders vmhgfs."""
    assert not Mount(b"/", fstype, b"0:1").gives_events


def test_a_table_that_is_closed_twice_closes_no_other_file() -> None:
    """The number of its descriptor is another file's by then."""
    table = Mounts()
    table.close()
    other = os.open("/dev/null", os.O_RDONLY)
    table.close()
    os.close(other)


def test_the_innermost_mount_counts() -> None:
    """/proc lies on proc, whatever / is; a path that merely begins alike does not lie on it."""
    table = Mounts()
    assert (b"/proc", b"proc") == table.of(b"/proc/self/fd")[:2]
    assert b"/proc" != table.of(b"/procession").point
    assert b"/proc" in {mount.point for mount in table.below(b"/")}
    table.close()
    assert [True, True, False] == [is_at_or_below(p, b"/a") for p in (b"/a", b"/a/b", b"/ab")]
    assert is_at_or_below(b"/a", b"/")


def test_without_a_mount_table_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing and what to do."""
    monkeypatch.setattr(mounts, "TABLE", "/proc/nowhere")
    with pytest.raises(WatchError, match=r"/proc/nowhere: No such file.*must be mounted"):
        Mounts()


def test_mounts_that_come_and_go_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Really mounted, in a mount namespace of its own: a disk over the root, one within, both taken away."""
    script = Path(__file__).with_name("with_mounts.py")
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs root and unshare, to mount")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(patience.__file__), prepend=os.pathsep)
    run = subprocess.run([*unshare, sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert (0, "over within away back") == (run.returncode, run.stderr.strip())

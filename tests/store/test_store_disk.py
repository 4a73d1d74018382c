"""Disks that are full, read-only or failing: nothing is lost, reads go on, and writes too once it is over.

Small file systems are mounted for it, which takes root.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path

import pytest

from shazimd.errors import StoreFull
from shazimd.fingerprint import Fingerprint
from shazimd.store import maintenance
from shazimd.store.lmdb_store import Store, open_store

MIB = 1 << 20


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts something at a new directory: ``mounted(*arguments)``; the test is skipped where that isn't allowed."""
    point = tmp_path / "disk"
    point.mkdir()

    def mount(*arguments: str) -> Path:
        try:
            run("mount", *arguments, str(point))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"mounting is needed, which takes root: {error}")
        return point

    yield mount
    if point.is_mount():
        run("umount", "--lazy", str(point))  # a failed test may leave the store open


@pytest.fixture
def ext4(tmp_path: Path, mounted: Callable[..., Path]) -> Path:
    """A file system in a file, which can be made to fail."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is needed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    run("mkfs.ext4", "-q", str(image))
    return mounted("-o", "loop", str(image))


def fill_until_full(store: Store, make_fingerprint: Callable[..., Fingerprint], message: str) -> int:
    """How many contents the disk took before it was full."""
    written: list[int] = []

    def fill() -> None:
        for n in range(10_000):
            store.write(methodcaller("add_content", b"%d" % n, make_fingerprint(n, features=b"f" * 50_000)))
            written.append(n)

    with pytest.raises(StoreFull, match=re.escape(message)):
        fill()
    return len(written)


def test_a_full_disk_stops_writes_and_nothing_else(
    mounted: Callable[..., Path], make_fingerprint: Callable[..., Fingerprint]
) -> None:
    """What was kept is there, reads go on, and when there is room writes go on, in the same open store."""
    disk = mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs")
    ballast = disk / "ballast"
    ballast.write_bytes(b"b" * 2 * MIB)
    store = open_store(str(disk / "store"), 64 * MIB)
    kept = fill_until_full(store, make_fingerprint, f"store {disk}/store: can't write: No space left on device")
    assert kept > 10
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.write(lambda w: w.add_content(b"x", make_fingerprint(1, features=b"f" * 500_000)))
    with store.read() as reader:
        assert reader.counts()["contents"] == kept
    ballast.unlink()
    store.write(lambda w: w.add_content(b"x", make_fingerprint(1, features=b"f" * 500_000)))
    assert store.check() == []
    store.close()
    store = open_store(str(disk / "store"), 64 * MIB)
    with store.read() as reader:
        assert reader.counts()["contents"] == kept + 1
    assert store.check() == []
    store.close()


def test_a_disk_too_full_to_begin_says_so(mounted: Callable[..., Path]) -> None:
    """And leaves nothing half-made behind: with room the store opens."""
    disk = mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    ballast = disk / "ballast"
    ballast.write_bytes(b"b" * (MIB - 16 * 1024))
    with pytest.raises(StoreFull, match="No space left on device"):
        open_store(str(disk / "store"), MIB)
    ballast.unlink()
    open_store(str(disk / "store"), MIB).close()


def test_a_disk_that_turns_read_only_stops_writes_alone(
    ext4: Path, make_fingerprint: Callable[..., Fingerprint]
) -> None:
    """As the kernel does to a disk with errors, under an open store; mounted anew, all that was kept is there."""
    store = open_store(str(ext4 / "store"), 64 * MIB)
    store.write(lambda w: w.add_content(b"d", make_fingerprint(1, features=b"f" * 5000)))
    run("mount", "-o", "remount,abort", str(ext4))
    for _ in range(2):
        with pytest.raises(StoreFull, match=r"can't write: (Read-only file system|Input/output error)"):
            store.write(lambda w: w.add_content(b"e", make_fingerprint(2)))
    with store.read() as reader:
        assert reader.features(1) == b"f" * 5000
    store.close()
    run("umount", str(ext4))
    # As it lies on the disk: a booted test machine may still hold the old mount, which would be mounted again.
    shutil.copyfile(ext4.parent / "image", ext4.parent / "same image")
    run("mount", "-o", "loop", str(ext4.parent / "same image"), str(ext4))
    store = open_store(str(ext4 / "store"), 64 * MIB)
    with store.read() as reader:
        assert (reader.content(b"d"), reader.content(b"e")) == (1, None)
    assert store.check() == []
    store.close()


def test_a_store_on_a_read_only_disk_says_so(ext4: Path) -> None:
    """It can't be opened there, and the error tells why."""
    open_store(str(ext4 / "store"), MIB).close()
    run("mount", "-o", "remount,ro", str(ext4))
    with pytest.raises(StoreFull, match="can't write: Read-only file system"):
        open_store(str(ext4 / "store"), MIB)


def test_a_backup_to_a_full_disk_leaves_the_store_alone(
    mounted: Callable[..., Path], store: Store, make_fingerprint: Callable[..., Fingerprint]
) -> None:
    """The error names the disk that is full; a backup that was not finished is none."""
    disk = mounted("-t", "tmpfs", "-o", "size=256k", "tmpfs")
    store.write(lambda w: w.add_content(b"d", make_fingerprint(1, features=b"f" * MIB)))
    with pytest.raises(StoreFull, match=f"store {disk}/b.unfinished/data.mdb: can't write"):
        maintenance.backup(store.info()["path"], str(disk / "b"))
    assert os.listdir(disk) == []
    assert store.check() == []


FAILING_DISK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Writes to the first two pages, where LMDB keeps its meta pages, fail while the file $FAIL exists. */
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    const char *fail = getenv("FAIL");
    if (offset < 8192 && size < 4096 && fail && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd, data, size, offset);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }
"""

UNDER_FAILURE = """
import os, sys
from shazimd.errors import StoreError
from shazimd.store.lmdb_store import open_store

store = open_store(sys.argv[1], 1 << 20)
store.write(lambda w: w.set("k", 1))
open(os.environ["FAIL"], "w").close()
for _ in range(2):
    try:
        store.write(lambda w: w.set("k", 2))
    except StoreError as error:
        print(type(error).__name__, error)
    with store.read() as reader:
        print(reader.get("k"))
os.unlink(os.environ["FAIL"])
store.write(lambda w: w.set("k", 3))
with store.read() as reader:
    print(reader.get("k"))
print(store.check())
"""


def test_a_failed_write_of_the_meta_page_is_survived(tmp_path: Path) -> None:
    """LMDB gives an environment up after that; ours reads on at once, and writes once the disk does."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is needed to make writes fail")
    source, library = tmp_path / "fail.c", tmp_path / "fail.so"
    source.write_text(FAILING_DISK)
    run(compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAIL": str(tmp_path / "fail")}
    result = subprocess.run(
        [sys.executable, "-c", UNDER_FAILURE, str(tmp_path / "store")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    first, one, second, still_one, three, problems = result.stdout.splitlines()
    assert first == second
    assert first.startswith("StoreFull")
    assert "can't write: Input/output error" in first
    assert (one, still_one, three, problems) == ("1", "1", "3", "[]")


def test_a_map_that_has_no_room_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """Where address space is limited, a write that needs more fails, and the store works on."""
    program = """
import resource, sys
from shazimd.errors import StoreError
from shazimd.store.lmdb_store import open_store

store = open_store(sys.argv[1], 1 << 20)
store.write(lambda w: w.set("k", 1))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
try:
    store.write(lambda w: [w.set(str(n), "v" * 1500) for n in range(2000)])
except StoreError as error:
    print(error)
store.write(lambda w: w.set("k", 2))
with store.read() as reader:
    print(reader.get("k"), reader.get("0"))
"""
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    error, values = result.stdout.splitlines()
    assert "Cannot allocate memory" in error
    assert values == "2 None"

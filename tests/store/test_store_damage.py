"""What is no store of ours is refused in clear words, and left as it is."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest
from patience import PATIENCE_S, wait_for

from shazimd.errors import StoreDamaged, StoreError
from shazimd.fingerprint import Fingerprint
from shazimd.posix import mounts
from shazimd.posix.files import try_lock
from shazimd.store import environment, schema
from shazimd.store.environment import DirectoryLock
from shazimd.store.lmdb_store import open_store
from shazimd.store.tables import SCHEMA, Transaction, put
from shazimd.types import FileRow, FileState, Stat

MIB = 1 << 20


@pytest.fixture
def filled(tmp_path: Path, make_fingerprint: Callable[..., Fingerprint], failed: FileRow) -> Path:
    """The directory of a closed store with some rows."""
    store = open_store(str(tmp_path / "store"), 16 * MIB)
    store.write(lambda w: [w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 5000)) for n in range(50)])
    store.write(lambda w: [w.put_file(b"/d/%d" % n, failed) for n in range(50)])
    store.close()
    return tmp_path / "store"


def _truncate(data: Path) -> None:
    os.truncate(data, data.stat().st_size // 2)


def _cut_last_page(data: Path) -> None:
    os.truncate(data, data.stat().st_size - 4096)


def _one_page(data: Path) -> None:
    os.truncate(data, 4096)


def _other_lmdb(data: Path) -> None:
    data.unlink()
    with lmdb.open(str(data.parent), max_dbs=2) as env, env.begin(write=True) as txn:
        txn.put(b"somebody", b"else's")


def _newer_schema(data: Path) -> None:
    with lmdb.open(str(data.parent), max_dbs=32) as env, env.begin(write=True) as txn:
        txn.put(b"schema", (99).to_bytes(8, "big"), db=env.open_db(b"numbers", txn=txn))


def _directory(data: Path) -> None:
    data.unlink()
    data.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda data: os.truncate(data, 0), "is empty, expected an LMDB file"),
    "random": (lambda data: data.write_bytes(os.urandom(100_000)), "expected an intact LMDB file"),
    "text": (lambda data: data.write_text("shopping list: milk\n"), "expected an intact LMDB file"),
    "half": (_truncate, r"found damage, expected .*: reachable page \d+ is beyond EOF .* and \d+ more; .*store repair"),
    "last page": (_cut_last_page, r"reachable page \d+ is beyond EOF"),
    "one page": (_one_page, "expected an intact LMDB file"),
    "other": (_other_lmdb, "an LMDB file without the table numbers, expected one of shazimd"),
    "newer": (_newer_schema, f"schema is 99, expected {SCHEMA}"),
    "directory": (_directory, "is not a regular file, expected an LMDB file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_and_left_as_it_is(filled: Path, damage: str) -> None:
    """The error names the store, what was found and what was expected; the file stays as it is, time after time."""
    data = filled / "data.mdb"
    inflict, message = DAMAGES[damage]
    inflict(data)
    before = None if data.is_dir() else data.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=message) as raised:
            open_store(str(filled), 16 * MIB)
        assert str(filled) in str(raised.value)
        assert before == (None if data.is_dir() else data.read_bytes())


def test_a_page_that_was_overwritten_is_found_when_it_is_read(filled: Path) -> None:
    """Damage in the middle is an error of the store, not of whoever reads; nobody crashes."""
    data = filled / "data.mdb"
    raw = bytearray(data.read_bytes())
    for start in range(2 * 4096, len(raw), 4096):
        raw[start : start + 16] = os.urandom(16)
    data.write_bytes(raw)
    with pytest.raises(StoreDamaged, match="expected an intact LMDB file"):
        open_store(str(filled), 16 * MIB).check()


def test_a_record_that_was_overwritten_is_found_when_it_is_read(filled: Path) -> None:
    """A row with its checksum that can't be decoded is that of a failed file, which each scan reads again."""
    with lmdb.open(str(filled), max_dbs=32) as env, env.begin(write=True) as txn:
        files = env.open_db(b"files", txn=txn)
        for key, _ in list(txn.cursor(files)):
            put(txn, files, key, b"\x93\x01")
    store = open_store(str(filled), 16 * MIB)
    with store.read() as reader:
        row = reader.file(b"/d/1")
    assert row is not None
    assert (FileState.FAILED, -1) == (row.state, row.stat.size)
    assert any("a row of the table files is unsound" in problem for problem in store.check())
    store.write(lambda w: w.put_file(b"/d/1", FileRow(Stat(1, 2, 3), FileState.FAILED, reason="x")))
    store.write(lambda w: w.remove_tree(b"/"))
    assert store.check() == []
    store.close()


def test_a_short_file_that_lacks_only_free_pages_is_whole(filled: Path) -> None:
    """LMDB may leave free pages at the end unwritten: such a file is opened."""
    store = open_store(str(filled), 16 * MIB)
    store.write(lambda w: [w.set(f"{n:04d}", "v" * 1500) for n in range(2000)])
    store.write(lambda w: [w.set(f"{n:04d}", None) for n in range(2000)])
    for _ in range(8):  # what lives at the end moves to free pages further in front
        store.write(lambda w: [w.set(f"{m}", m) for m in range(9)])
    store.close()
    data = filled / "data.mdb"
    os.truncate(data, data.stat().st_size - 4 * 4096)
    store = open_store(str(filled), 16 * MIB)
    assert store.check() == []
    store.close()


def test_a_beginning_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    """A store comes into being aside, so what a killed process left there is in nobody's way."""
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "data.mdb").write_bytes(b"half")
    open_store(str(tmp_path), 16 * MIB).close()
    assert sorted(os.listdir(tmp_path)) == ["closed", "data.mdb", "lock", "lock.mdb"]


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """With its name and what was expected."""
    (tmp_path / "store").write_text("x")
    with pytest.raises(StoreError, match="store: is a file, expected a directory"):
        open_store(str(tmp_path / "store"), 16 * MIB)


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    """Directories are made with mode 0700, files with 0600, whatever the umask."""
    old = os.umask(0)
    try:
        store = open_store(str(tmp_path / "a" / "store"), 16 * MIB)
    finally:
        os.umask(old)
    modes = {
        name: stat.S_IMODE((tmp_path / "a" / "store" / name).stat().st_mode)
        for name in ("", "data.mdb", "lock", "lock.mdb")
    }
    store.close()
    assert modes == {"": 0o700, "data.mdb": 0o600, "lock": 0o600, "lock.mdb": 0o600}


def test_a_store_that_another_process_has_is_refused(tmp_path: Path) -> None:
    """The error names the process; when that was killed the store can be opened."""
    program = """
import sys
from shazimd.store.lmdb_store import open_store
store = open_store(sys.argv[1], 1 << 20)
print("open", flush=True)
input()
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"held by process {process.pid}, expected no other"):
            open_store(str(tmp_path), MIB)
        process.kill()
        process.wait()
    open_store(str(tmp_path), MIB).close()


@pytest.mark.parametrize("released", [True, False])
def test_a_store_waits_for_the_child_of_a_killed_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    """A process that is being started keeps the lock of the killed one for a moment; an error tells if it stays."""
    program = """
import os, signal, sys
from shazimd.store.environment import DirectoryLock
lock = DirectoryLock(sys.argv[1])
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
print("left", flush=True)
sys.stdin.read()
"""
    monkeypatch.setattr(environment, "_RELEASE_S", PATIENCE_S if released else 0.1)
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "left\n"
        process.wait()
        if not released:
            with pytest.raises(StoreError, match=f"held by process {process.pid}, expected no other"):
                DirectoryLock(str(tmp_path))
        tried: list[bool] = []

        def counted(descriptor: int) -> bool:
            tried.append(try_lock(descriptor))
            return tried[-1]

        monkeypatch.setattr(environment, "try_lock", counted)
        with ThreadPoolExecutor(1) as thread:
            taken = thread.submit(DirectoryLock, str(tmp_path)) if released else None
            wait_for(lambda: tried or not released, lambda: str(tried))
            process.stdin.close()
            if taken is not None:
                taken.result().close()
                assert tried[0] is False


def test_a_store_is_opened_once_in_a_process(tmp_path: Path) -> None:
    """LMDB's locks would break; after it was closed it can be opened again."""
    store = open_store(str(tmp_path), MIB)
    with pytest.raises(StoreError, match=f"held by process {os.getpid()}"):
        open_store(str(tmp_path), MIB)
    store.close()
    open_store(str(tmp_path), MIB).close()


@pytest.mark.parametrize(
    ("kind", "is_remote"),
    [
        *((kind.decode(), True) for kind in sorted(mounts.NETWORK)),
        *(("fuse.sshfs", True), ("fuse.rclone", True), ("fuse.s3fs", True), ("fuse.mergerfs", True)),
        *((kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk")),
    ],
)
def test_a_remote_file_system_is_known_by_its_type(tmp_path: Path, kind: str, is_remote: bool) -> None:
    """By /proc/self/mountinfo: all that the watcher does not trust for events, the store does not trust either."""
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    line = "36 35 {}:{} / {} rw,noatime shared:1 - {} server:/export rw\n"
    here = line.format(os.major(device), os.minor(device), tmp_path, kind)
    table.write_text(line.format(0, 999, "/other", "cifs") + here)
    assert environment.remote_filesystem(str(tmp_path), str(table)) == (kind if is_remote else None)


def test_a_remote_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LMDB can't keep its promises there, so we make none."""
    monkeypatch.setattr(environment, "remote_filesystem", lambda path: "nfs4")
    with pytest.raises(StoreError, match="lies on nfs4, expected a local disk"):
        open_store(str(tmp_path), MIB)


def test_an_older_schema_is_migrated_in_one_transaction(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step runs once, in order; a step that fails leaves the store at its old version."""
    steps: list[int] = []

    def step(number: int) -> Callable[[lmdb.Environment, Transaction], None]:
        def migrate(env: lmdb.Environment, txn: Transaction) -> None:
            steps.append(number)
            put(txn, env.open_db(b"values", txn=txn), b"step", b"%d" % number)

        return migrate

    def fail(env: lmdb.Environment, txn: Transaction) -> None:
        step(1)(env, txn)
        raise ZeroDivisionError

    now = SCHEMA
    monkeypatch.setattr(schema, "SCHEMA", now + 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {now: fail, now + 1: step(2)})
    with pytest.raises(ZeroDivisionError):
        open_store(str(filled), 16 * MIB)
    monkeypatch.setattr(schema, "MIGRATIONS", {now: step(1), now + 1: step(2)})
    for _ in range(2):
        store = open_store(str(filled), 16 * MIB)
        with store.read() as reader:
            assert reader.get("step") == 2
            assert reader.counts()["contents"] == 50
        store.close()
    assert steps == [1, 1, 2]


def test_a_schema_without_a_way_forward_is_refused(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than guessed at."""
    now = SCHEMA
    monkeypatch.setattr(schema, "SCHEMA", now + 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {now + 1: lambda env, txn: None})
    with pytest.raises(StoreDamaged, match=re.escape(f"schema is {now}, expected {now + 2}")):
        open_store(str(filled), 16 * MIB)

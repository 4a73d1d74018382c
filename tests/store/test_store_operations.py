"""What keeping a store takes: checking, copying, compacting, and memory that stays small."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path

import lmdb
import pytest
from patience import PATIENCE_S

from shazimd.errors import StoreError, StoreFull
from shazimd.fingerprint import Fingerprint
from shazimd.posix import files
from shazimd.posix.memory import MappedFile
from shazimd.store import environment, lmdb_store, maintenance
from shazimd.store.environment import copy
from shazimd.store.lmdb_store import Store, open_store
from shazimd.store.pages import metas
from shazimd.store.tables import delete_all, number, put, put_pieces
from shazimd.types import ContentId, FileRow

MIB = 1 << 20


@pytest.fixture
def filled(
    store: Store,
    make_fingerprint: Callable[..., Fingerprint],
    indexed: Callable[[ContentId], FileRow],
    failed: FileRow,
) -> Store:
    """Two contents in three files below two directories, a failed file, an alert, a removal."""
    one, two, three = store.write(
        lambda w: [
            w.add_content(b"%d" % n, make_fingerprint(n, pixels=b"p%d" % n * 16, features=b"f" * 5000))
            for n in range(3)
        ]
    )
    store.write(lambda w: [w.put_file(path, indexed(one)) for path in (b"/a/x", b"/a/b/y")])
    store.write(lambda w: [w.put_file(b"/a/z", indexed(two)), w.put_file(b"/a/bad", failed)])
    store.write(lambda w: [w.prune([three]), w.add_alert({"n": 1})])
    return store


WRONGS: dict[str, tuple[str, bytes, bytes | None, str]] = {
    "directory without a name": ("directory_names", number(1), None, "does not know it"),
    "directory that lies elsewhere": ("directory_names", number(2), number(0) + b"q", "says it is in"),
    "directory that is empty": ("directories", number(1) + b"e", number(9), "directory 9 is empty"),
    "file in no directory": ("files", number(77) + b"x", b"\x95\x01\x01\x01\x00\xc4\x00", "in an unknown directory"),
    "failed that is not counted": ("numbers", b"failed", number(5), "failed files are 1, but 5 are counted"),
    "file that is a directory": ("files", number(1) + b"b", b"\x95\x01\x01\x01\x00\xc4\x00", "is a directory too"),
    "content gone": ("contents", number(1), None, "holds the unknown content 1"),
    "holder gone": ("holders", number(1) + number(1) + b"x", None, "is not listed under its content 1"),
    "holder of nothing": ("holders", number(1) + number(1) + b"q", b"", "which does not hold it"),
    "digest gone": ("digests", b"0", None, "is not found by its digest"),
    "digest of another": ("digests", b"q", number(1), "names content 1, which has another"),
    "pixels gone": ("pixels", b"p0" * 16 + number(1), None, "is not found by its pixels"),
    "pixels of another": ("pixels", b"pq" * 16 + number(1), b"", "pixels"),
    "removed but known": ("removals", number(1), number(1), "known, but listed as removed"),
    "features of nothing": ("features", number(50) + b"\0\0", b"f", "features are kept of the unknown content 50"),
    "vector of nothing": ("vectors", b"\0\1" + number(50) + b"\0\0", b"v" * 128, "vector is kept of the unknown"),
    "vector too short": ("vectors", b"\0\1" + number(1) + b"\0\0", b"v", "is 1 bytes long"),
    "vector not counted": ("vectors", b"\0\1" + number(2) + b"\0\0", None, "are 1, but 2 are counted"),
    "number that comes again": ("numbers", b"content", number(1), "the last content is 2, but 1 were given out"),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_check_finds_what_is_wrong(filled: Store, wrong: str) -> None:
    """A row that is missing, too many, or other than it should be: each is told in a sentence."""
    table, key, value, message = WRONGS[wrong]
    directory = filled.info()["path"]
    assert filled.check() == []
    filled.close()
    with lmdb.open(directory, max_dbs=32) as env, env.begin(write=True) as txn:
        handle = env.open_db(table.encode(), txn=txn, create=False)
        if value is None:
            assert txn.delete(key, db=handle)
        elif table in ("features", "vectors"):
            delete_all(txn, handle, key[:-2])
            put_pieces(txn, handle, key[:-2], value)
        else:
            put(txn, handle, key, value)
    store = open_store(directory, 64 * MIB)
    assert any(message in problem for problem in store.check())
    store.close()


def test_check_ends_on_directories_in_a_circle(filled: Store) -> None:
    """Directories that lie in each other are told, not followed for ever."""
    directory = filled.info()["path"]
    filled.close()
    with lmdb.open(directory, max_dbs=32) as env, env.begin(write=True) as txn:
        names = env.open_db(b"directory_names", txn=txn, create=False)
        put(txn, names, number(1), number(2) + b"a")
    store = open_store(directory, 64 * MIB)
    assert "directory 1 does not lie below the root" in store.check()
    store.close()


def test_a_backup_is_a_store(filled: Store, tmp_path: Path, failed: FileRow) -> None:
    """It holds what the store held when it began, is its owner's alone, and is complete once it has its name."""
    target = tmp_path / "backup"
    maintenance.backup(filled.info()["path"], str(target))
    filled.write(lambda w: w.put_file(b"/later", failed))
    assert os.listdir(target) == ["data.mdb"]
    assert (target.stat().st_mode & 0o777, (target / "data.mdb").stat().st_mode & 0o777) == (0o700, 0o600)
    copy = open_store(str(target), MIB)
    with copy.read() as reader, filled.read() as original:
        assert [p for p, _ in reader.walk(b"/")] == [p for p, _ in original.walk(b"/") if p != b"/later"]
        assert reader.features(1) == original.features(1)
    assert copy.check() == []
    copy.close()


def test_a_backup_overwrites_nothing(filled: Store, tmp_path: Path) -> None:
    """A path that exists is refused."""
    with pytest.raises(StoreError, match="exists, expected the name of a new directory"):
        maintenance.backup(filled.info()["path"], str(tmp_path))


def test_a_backup_may_be_named_with_a_slash_at_the_end(filled: Store, tmp_path: Path) -> None:
    """As shells complete it."""
    maintenance.backup(filled.info()["path"], f"{tmp_path / 'backup'}/")
    assert os.listdir(tmp_path / "backup") == ["data.mdb"]
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="exists, expected the name of a new directory"):
        maintenance.backup(filled.info()["path"], f"{tmp_path / 'file'}/")


def test_a_backup_runs_beside_writes(filled: Store, tmp_path: Path, failed: FileRow) -> None:
    """It is one consistent picture, however much is written meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        writes = [pool.submit(filled.write, methodcaller("put_file", b"/w/%d" % n, failed)) for n in range(200)]
        for n in range(3):
            maintenance.backup(filled.info()["path"], str(tmp_path / f"b{n}"))
        for write in writes:
            write.result()
    for n in range(3):
        copy = open_store(str(tmp_path / f"b{n}"), MIB)
        assert copy.check() == []
        with copy.read() as reader:
            names = reader.listing(b"/w").files
        assert sorted(names) == sorted(b"%d" % m for m in range(len(names)))
        copy.close()


def test_compacting_gives_the_disk_back(store: Store, make_fingerprint: Callable[..., Fingerprint]) -> None:
    """After much was removed the file is small again, what stayed is there, and the store works on."""
    ids = store.write(
        lambda w: [w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 20_000)) for n in range(200)]
    )
    store.write(lambda w: w.prune(ids[1:]))
    before = store.info()
    store.compact()
    after = store.info()
    assert after["size_bytes"] < before["size_bytes"] / 10
    assert after["map_size_bytes"] == before["map_size_bytes"]
    store.write(lambda w: w.set("k", 1))
    with store.read() as reader:
        assert reader.features(ids[0]) == b"f" * 20_000
    assert store.check() == []


def test_reads_go_on_while_a_compaction_copies(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes wait: the copy would not have them."""
    copying, goes_on = threading.Event(), threading.Event()

    def slow(env: lmdb.Environment, directory: str) -> None:
        copying.set()
        assert goes_on.wait(PATIENCE_S)
        copy(env, directory)

    monkeypatch.setattr(environment, "copy", slow)
    with ThreadPoolExecutor(3) as pool:
        try:
            compacted = pool.submit(filled.compact)
            assert copying.wait(PATIENCE_S)
            written = pool.submit(filled.write, methodcaller("set", "k", 1))
            counts = pool.submit(_counts, filled).result(PATIENCE_S)
            assert counts["images"] == 3
            assert not written.done()
        finally:
            goes_on.set()
        compacted.result()
        written.result()
    with filled.read() as reader:
        assert reader.get("k") == 1


def _counts(store: Store) -> dict[str, int]:
    with store.read() as reader:
        return reader.counts()


def test_a_read_that_never_ends_fails_a_compaction(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data file stays the one that the store has open."""
    monkeypatch.setattr(lmdb_store, "PATIENCE_S", 0.05)
    data = Path(filled.info()["path"]) / "data.mdb"
    before = data.stat().st_ino
    with filled.read(), ThreadPoolExecutor(1) as pool, pytest.raises(StoreError, match="still open"):
        pool.submit(filled.compact).result()
    assert data.stat().st_ino == before
    filled.compact()
    assert data.stat().st_ino != before


def test_a_compaction_that_is_not_durable_is_used_all_the_same(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the new file has the name, a write to the old one would be lost."""
    directory = filled.info()["path"]

    def failing(path: str) -> None:
        if path == directory:
            raise OSError(errno.EIO, "Input/output error", path)

    with monkeypatch.context() as context:
        context.setattr(files, "sync", failing)
        with pytest.raises(StoreFull, match="Input/output error"):
            filled.compact()
    filled.write(lambda w: w.set("k", 1))
    filled.close()
    reopened = open_store(directory, 64 * MIB)
    with reopened.read() as reader:
        assert reader.get("k") == 1
    reopened.close()


def test_compacting_waits_for_readers_and_they_for_it(filled: Store) -> None:
    """Threads that read without a pause see whole stores only while it is compacted again and again."""

    def read(rounds: int) -> Iterator[int]:
        for _ in range(rounds):
            with filled.read() as reader:
                yield len(list(reader.walk(b"/")))

    with ThreadPoolExecutor(4) as pool:
        seen = [pool.submit(lambda: set(read(300))) for _ in range(3)]
        for _ in range(20):
            filled.compact()
        assert [future.result() for future in seen] == [{4}] * 3


HOLD = """
import sys
from shazimd.store.damage import held
with held(sys.argv[1]):
    print("holds", flush=True)
    input()
"""


@contextmanager
def reading_process(directory: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a snapshot of the store, as a backup does, until the end of the block."""
    command = [sys.executable, "-c", HOLD, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


@pytest.mark.parametrize("parity", [0, 1])
def test_compacting_beside_another_process(filled: Store, parity: int) -> None:
    """The other process keeps the old file with its locks. The number of the last transaction says which meta page LMDB
    reads, and a compact copy counts from 1."""
    directory = filled.info()["path"]
    while _last_transaction(directory) % 2 != parity:
        filled.write(lambda w: w.set("k", 0))
    with reading_process(directory):
        filled.compact()
        filled.write(lambda w: w.set("k", 1))
        with filled.read() as reader:
            assert reader.get("k") == 1
            assert len(list(reader.walk(b"/"))) == 4
        assert maintenance.check(directory) == []


def test_a_killed_backup_holds_back_no_pages(store: Store) -> None:
    """The file stays about as large as the rows that are replaced again and again."""
    with reading_process(store.info()["path"]) as process:
        process.kill()
    for n in range(200):
        store.write(methodcaller("set", "k", f"{n}" * 20_000))
    assert store.info()["size_bytes"] < MIB


def _last_transaction(directory: str) -> int:
    with open(os.path.join(directory, "data.mdb"), "rb") as file:
        return metas(file.fileno())[0].transaction


def test_what_was_read_need_not_stay_in_memory(
    store: Store, make_fingerprint: Callable[..., Fingerprint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After letting go, the pages of the file no longer count as ours, and read as before."""
    monkeypatch.setattr("shazimd.posix.memory.RESIDENT_BYTES_MAX", 24 * MIB)
    ids = store.write(
        lambda w: [w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 100_000)) for n in range(200)]
    )
    data = Path(store.info()["path"]) / "data.mdb"
    mapped = MappedFile(str(data))

    def read_all() -> int:
        return sum(len(reader.features(content)) for content in ids)

    with store.read() as reader:
        assert read_all() == 200 * 100_000
        assert _resident_bytes(data) > 10 * MIB
        mapped.trim()
        assert _resident_bytes(data) > 10 * MIB  # not worth it yet
        mapped.release()
        assert _resident_bytes(data) < MIB
        assert read_all() == 200 * 100_000


def test_memory_stays_small_by_itself(
    store: Store, make_fingerprint: Callable[..., Fingerprint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more than the limit is resident, reads and writes let go of it."""
    monkeypatch.setattr("shazimd.posix.memory.RESIDENT_BYTES_MAX", 4 * MIB)
    data = Path(store.info()["path"]) / "data.mdb"
    ids = []
    for n in range(200):
        ids.append(store.write(methodcaller("add_content", b"%d" % n, make_fingerprint(n, features=b"f" * 100_000))))
    assert _resident_bytes(data) < 6 * MIB
    for content in ids:
        with store.read() as reader:
            reader.features(content)
    assert _resident_bytes(data) < 6 * MIB
    with store.read() as reader:
        assert sum(len(reader.features(content)) for content in ids) == 200 * 100_000
        assert _resident_bytes(data) < 12 * MIB


def _resident_bytes(data: Path) -> int:
    """What of a mapped file is resident in this process; see proc_pid_smaps(5)."""
    resident, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(data))
        elif ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident

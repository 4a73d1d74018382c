"""A file's way in, with a real store and index; only the decoder is a fake."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingest_bench import Bench
from patience import tick
from structlog.testing import capture_logs

from shazimd.ingest.ingest import Outcome
from shazimd.ingest.retries import TRIES_MAX
from shazimd.store.base import Store, Writer
from shazimd.types import FileState, Stat


@pytest.mark.parametrize("data", [b"other", b"bad"])
def test_a_file_that_another_was_renamed_over_while_it_was_decoded_is_not_stored(bench: Bench, data: bytes) -> None:
    """What the store says of the other stands, so it is told only once."""
    bench.look("original.ppm", b"known")
    bench.look("known.ppm", b"known")
    path = bench.write("other.ppm", data)
    bench.decoders.meanwhile = lambda: bench.rename("known.ppm", "other.ppm", told=True)
    assert Outcome.UNSETTLED == bench.ingest.ingest(path)
    bench.ingest.ingest(path)
    row = bench.row(path)
    assert row is not None
    assert (FileState.INDEXED, [("known.ppm", "original.ppm")]) == (row.state, bench.told())


def test_the_same_bytes_are_decoded_once_and_told_as_a_copy(bench: Bench) -> None:
    """The second file costs a read."""
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"one")
    assert ([b"one"], [("b.ppm", "a.ppm")]) == (bench.decoders.decoded, bench.told())


def test_a_file_that_did_not_change_is_not_read(bench: Bench) -> None:
    """Size, mtime, inode and ctime are known."""
    bench.look("a.ppm", b"one")
    with capture_logs() as logs:
        bench.look("a.ppm")
    assert [] == logs


def test_a_file_that_was_written_again_with_the_same_stat_is_read(bench: Bench) -> None:
    """Unpacking over a file may keep size, mtime and inode; its ctime differs."""
    path = bench.look("a.ppm", b"one")
    before = os.stat(path)
    tick()
    Path(os.fsdecode(path)).write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
    bench.look("a.ppm")
    assert [b"one", b"two"] == bench.decoders.decoded


def test_a_change_of_mode_decodes_nothing(bench: Bench) -> None:
    """Only the ctime differs: the bytes are read and digested, and their digest is known."""
    path = bench.look("a.ppm", b"one")
    os.chmod(path, 0o400)
    bench.look("a.ppm")
    assert [b"one"] == bench.decoders.decoded


def test_the_same_bytes_at_once_are_decoded_once(bench: Bench) -> None:
    """The second waits for the first."""
    names = [f"{number}.ppm" for number in range(8)]
    threads = [threading.Thread(target=bench.look, args=(name, b"one")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"one"] == bench.decoders.decoded
    assert 7 == len({path for path, _ in bench.told()})


@pytest.mark.parametrize("how", ["touch", "write the same"])
def test_what_holds_the_same_as_before_is_told_no_second_time(bench: Bench, how: str) -> None:
    """It is no new picture."""
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"one")
    if how == "touch":
        os.utime(bench.root / "b.ppm", ns=(1, 1))
        bench.look("b.ppm")
    else:
        (bench.root / "b.ppm").unlink()
        bench.look("b.ppm", b"one")
    assert [("b.ppm", "a.ppm")] == bench.told()


def test_a_changed_file_that_became_a_copy_is_told(bench: Bench) -> None:
    """It holds something new, though its name is old."""
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"two")
    bench.look("b.ppm", b"one")
    assert [("b.ppm", "a.ppm")] == bench.told()


def test_what_is_silent_is_stored_and_not_told(bench: Bench) -> None:
    """A baseline, or a reference."""
    bench.is_silent = True
    bench.look("a.ppm", b"one")
    path = bench.look("b.ppm", b"one")
    row = bench.row(path)
    assert (FileState.INDEXED, []) == (row and row.state, bench.told())


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"bad", "not_an_image"), (b"crash", "worker_failed"), (b"x" * 1001, "too_large")],
)
def test_a_failure_is_kept_and_not_tried_again(bench: Bench, data: bytes, code: str) -> None:
    """Until the file changes."""
    with capture_logs() as logs:
        path = bench.look("a.ppm", data)
        bench.look("a.ppm")
    row = bench.row(path)
    assert row is not None
    assert (FileState.FAILED, code) == (row.state, row.reason.split(":")[0])
    assert [("image_failed", code)] == [(log["event"], log["code"]) for log in logs]
    bench.look("a.ppm", b"good")
    row = bench.row(path)
    assert FileState.INDEXED == (row and row.state)


def test_a_picture_without_a_vector_is_stored_and_named(bench: Bench) -> None:
    """The model gave none for this picture: the file is known by its hashes, and the log says so."""
    bench.decoders.has_model = False
    with capture_logs() as logs:
        row = bench.row(bench.look("a.ppm", b"black"))
    assert FileState.INDEXED == (row and row.state)
    (missing,) = [log for log in logs if log["event"] == "vector_missing"]
    assert ("m", "hashes only") == (missing["model"], missing["matching"])


def test_a_file_whose_worker_was_lost_is_tried_again(bench: Bench) -> None:
    """Nothing is stored meanwhile, and the delay grows."""
    bench.decoders.losses = 2
    outcomes, delays = [], []
    path = bench.write("a.ppm", b"one")
    for _ in range(3):
        outcomes.append(bench.ingest.ingest(path))
        delays.append(bench.ingest.retries.delay_s(path))
        assert (bench.row(path) is None) == (outcomes[-1] is Outcome.POSTPONED)
    assert [Outcome.POSTPONED, Outcome.POSTPONED, Outcome.STORED] == outcomes
    assert delays[0] < delays[1]


def test_a_file_whose_workers_are_always_lost_fails_until_the_next_start(bench: Bench) -> None:
    """The reason tells that it was not the file's fault. A scan asked for tries again, as a start does."""
    bench.decoders.losses = TRIES_MAX
    path = bench.write("a.ppm", b"one")
    outcomes = [bench.ingest.ingest(path) for _ in range(TRIES_MAX)]
    row = bench.row(path)
    assert [Outcome.POSTPONED] * (TRIES_MAX - 1) + [Outcome.FAILED] == outcomes
    assert row is not None
    assert (FileState.FAILED, "worker_lost: killed; not the picture's fault") == (row.state, row.reason)
    assert (Outcome.FAILED, TRIES_MAX) == (bench.ingest.ingest(path), len(bench.decoders.decoded))
    bench.ingest.retries.clear()
    assert Outcome.STORED is bench.ingest.ingest(path)


def test_a_file_without_a_model_fails_until_the_next_look(bench: Bench) -> None:
    """Whether the model is broken, or a picture forged that: the file is listed, and tried again though unchanged."""
    bench.decoders.model_fails = True
    path = bench.look("a.ppm", b"one")
    row = bench.row(path)
    assert row is not None
    assert (FileState.FAILED, "model_error: it can't be opened") == (row.state, row.reason)
    bench.decoders.model_fails = False
    assert Outcome.STORED is bench.ingest.ingest(path)


def test_a_deep_look_reads_a_file_whose_stat_is_unchanged(bench: Bench) -> None:
    """Damage on the disk changes no stat. The same bytes write nothing."""
    path = bench.look("a.ppm", b"one")
    row = bench.row(path)
    assert row is not None
    damaged = bench.write("a.ppm", b"two")
    found = os.stat(damaged)
    bench.store.write(lambda writer: writer.put_file(path, replace(row, stat=Stat.of(found))))
    assert Outcome.UNCHANGED is bench.ingest.ingest(path)
    assert Outcome.STORED is bench.ingest.ingest(path, is_deep=True)
    assert [b"one", b"two"] == bench.decoders.decoded
    assert Outcome.UNCHANGED is bench.ingest.ingest(path, is_deep=True)


def test_a_read_error_is_told_once_and_tried_at_each_look(bench: Bench) -> None:
    """EIO, as /proc/self/mem gives it for real. The file has not changed when it can be read again."""
    path = bench.root / "a.ppm"
    path.symlink_to("/proc/self/mem")
    with capture_logs() as logs:
        bench.look("a.ppm")
        bench.look("a.ppm")
    assert [("unreadable", "cannot be read: Input/output error")] == [(log["code"], log["reason"]) for log in logs]
    path.unlink()
    row = bench.row(bench.look("a.ppm", b"good"))
    assert FileState.INDEXED == (row and row.state)


def test_a_file_that_is_written_while_it_is_read_is_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is stored."""
    path = bench.write("a.ppm", b"half")
    found = bench.ingest._disk.look(path)
    bench.write("a.ppm", b"half and half")
    monkeypatch.setattr(bench.ingest._disk, "look", lambda _: found)
    outcome = bench.ingest.ingest(path)
    assert (Outcome.UNSETTLED, None, []) == (outcome, bench.row(path), bench.decoders.decoded)


def test_what_was_deleted_is_forgotten_and_what_is_missing_is_asked_about(bench: Bench) -> None:
    """A disk that is away deletes nothing."""
    gone, away = bench.look("gone.ppm", b"one"), bench.look("away.ppm", b"two")
    os.unlink(gone)
    os.unlink(away)
    outcomes = bench.ingest.ingest(gone, deleted=True), bench.ingest.ingest(away)
    assert ((Outcome.REMOVED, Outcome.MISSING), None) == (outcomes, bench.row(gone))
    assert bench.row(away) is not None


def test_a_change_under_one_name_of_many_is_said(bench: Bench) -> None:
    """The others changed too, and made no event; a file with one name asks for nothing."""
    bench.look("a.ppm", b"one")
    bench.look("a.ppm", b"two!")
    outcomes = [bench.outcome]
    (bench.root / "b.ppm").hardlink_to(bench.root / "a.ppm")
    for name, data in (("b.ppm", None), ("a.ppm", b"three")):
        bench.look(name, data)
        outcomes.append(bench.outcome)
    assert [Outcome.STORED, Outcome.STORED, Outcome.OTHER_NAMES] == outcomes


class Counted:
    """Counts a store's read transactions and durable writes."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = self.writes = 0
        self._read, self._write = store.read, store.write
        monkeypatch.setattr(store, "read", self.read)
        monkeypatch.setattr(store, "write", self.write)

    def read(self) -> Any:
        self.reads += 1
        return self._read()

    def write(self, work: Callable[[Writer], Any]) -> Any:
        self.writes += 1
        return self._write(work)


@pytest.mark.parametrize("is_silent", [False, True])
def test_known_bytes_take_three_snapshots_and_one_durable_write(
    bench: Bench, is_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row, the content with the number of its files, and a file with the same bytes; the row and the alert."""
    bench.look("a.ppm", b"one")
    bench.is_silent = is_silent
    bench.write("b.ppm", b"one")
    with monkeypatch.context() as patch:
        counted = Counted(bench.store, patch)
        bench.look("b.ppm")
    assert (2 if is_silent else 3, 1) == (counted.reads, counted.writes)
    assert ([] if is_silent else [("b.ppm", "a.ppm")]) == bench.told()


def test_known_bytes_without_another_file_take_one_durable_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision is then that there is no alert."""
    bench.ingest.ingest(bench.look("a.ppm", b"one"))
    (bench.root / "a.ppm").unlink()
    bench.ingest.ingest(os.fsencode(bench.root / "a.ppm"), deleted=True)
    bench.write("b.ppm", b"one")
    with monkeypatch.context() as patch:
        counted = Counted(bench.store, patch)
        bench.look("b.ppm")
    assert (1, []) == (counted.writes, bench.told())

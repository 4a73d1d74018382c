"""A file's way in, with a real store and index; only the decoder is a fake."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from shazimd.errors import ModelError, NotAnImage, ShazimdError, WorkerFailed, WorkerLost
from shazimd.index.flat import FlatIndex
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.ingest import Ingest
from shazimd.ingest.moves import apply_move
from shazimd.ingest.outcome import Outcome
from shazimd.ingest.pending import PendingAlert
from shazimd.ingest.retries import TRIES_MAX
from shazimd.ingest.rules import IngestRules, MatchSettings
from shazimd.models.model import ModelInfo
from shazimd.posix.sealed import SealedBytes
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.telemetry.metrics import Metrics
from shazimd.types import FileRow, FileState, Fingerprint, Query, Signals, Stat, Verdict, digest_of

MODEL = ModelInfo("m", "m", "00", "", 1, 1, 64)


class FakeDecoders:
    """A picture is any bytes but those that begin with "bad"; its hashes and its vector come from its bytes."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []
        self.number = 0
        """the hashes of all pictures, if set"""
        self.has_model = True
        self.pixels: bytes | None = None
        """the name of all pictures' pixels"""
        self.losses = 0
        """how many workers are lost from now on"""
        self.model_fails = False
        self.meanwhile: Callable[[], object] = lambda: None
        """what happens on the disk while a picture is decoded"""

    def fingerprint(self, data: SealedBytes, model: ModelInfo | None) -> Future[Fingerprint]:
        content = bytes(data)
        self.decoded.append(content)
        self.meanwhile()
        done: Future[Fingerprint] = Future()
        if self.losses > 0:
            self.losses -= 1
            done.set_exception(WorkerLost("killed; not the picture's fault"))
        elif self.model_fails:
            done.set_exception(ModelError("it can't be opened"))
        elif content.startswith(b"bad"):
            done.set_exception(NotAnImage("no picture"))
        elif content.startswith(b"crash"):
            done.set_exception(WorkerFailed("crashed its worker"))
        else:
            number = self.number or int.from_bytes(digest_of(content)[:8], "big")
            signs = np.array([1 if number >> bit & 1 else -1 for bit in range(64)], np.float32)
            vector = signs / np.float32(8) if self.has_model else None
            signals = Signals(number, number, vector)
            done.set_result(Fingerprint(signals, model.id if model else None, 4, 3, "PPM", self.pixels))
        return done

    def arrival(self, data: SealedBytes, model: ModelInfo | None) -> Future[Query]:
        done: Future[Query] = Future()
        try:
            fingerprint = self.fingerprint(data, model).result()
        except ShazimdError as error:
            done.set_exception(error)
        else:
            done.set_result(Query(fingerprint, (fingerprint.signals,)))
        return done


class Bench:
    """An ingest with all below it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.store: Store = open_store(str(folder / "store"), 64 << 20)
        self.decoders = FakeDecoders()
        self.library = Library(self.store, lambda _, __: FlatIndex(), MODEL)
        self.committer = Committer(self.store)
        self.alerts = Alerts(self.store, self.committer)
        self.is_silent = False
        self.verdicts = frozenset(Verdict)
        self.banks: tuple[bytes, ...] = ()
        self.ingest = Ingest(
            self.library,
            self.committer,
            self.decoders,
            Search(self.library, None),
            self.alerts,
            IngestRules(self, MatchSettings(0.75, (1.0, 1.0, 2.0), frozenset(Verdict)), max_file_bytes=1000),
            Metrics(),
        )

    def silent(self, path: bytes) -> bool:
        return self.is_silent

    def follows_symlinks(self, path: bytes) -> bool:
        return True

    def needs_sniff(self, path: bytes) -> bool:
        return False

    def only_against(self, path: bytes) -> tuple[bytes, ...]:
        return self.banks

    def may_stall(self, path: bytes) -> bool:
        return False

    def matching(self, path: bytes, general: MatchSettings) -> MatchSettings:
        return replace(general, verdicts=self.verdicts)

    def close(self) -> None:
        self.committer.close()
        self.library.close()
        self.store.close()

    def write(self, name: str, data: bytes) -> bytes:
        path = self.root / name
        path.write_bytes(data)
        return os.fsencode(path)

    def look(self, name: str, data: bytes | None = None) -> bytes:
        """Write a file, if data is given, and ingest it."""
        path = os.fsencode(self.root / name) if data is None else self.write(name, data)
        self.outcome = self.ingest.ingest(path)
        return path

    def rename(self, old: str, new: str, *, told: bool) -> None:
        """``told``: the kernel spoke of it, and the store has followed."""
        (self.root / old).rename(self.root / new)
        if told:
            paths = os.fsencode(self.root / old), os.fsencode(self.root / new)
            self.store.write(lambda writer: apply_move(writer, *paths))

    def row(self, path: bytes) -> FileRow | None:
        with self.store.read() as reader:
            return reader.file(path)

    def told(self) -> list[tuple[str, str]]:
        """The alerts in the store, as (name, name of the match)."""
        with self.store.read() as reader:
            assert not list(reader.pending_alerts())
            alerts = [alert for _, alert in reader.alerts()]
        return [(os.path.basename(alert["path"]), os.path.basename(alert["match"])) for alert in alerts]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


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


def test_an_alert_whose_worker_was_lost_is_decided_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a delay; until then it is pending, and a restart would decide it."""
    bench.decoders.number = 7
    bench.look("a.ppm", b"one")
    real = bench.ingest._decider.by_search

    def lost(*_: Any) -> Any:
        monkeypatch.setattr(bench.ingest._decider, "by_search", real)
        raise WorkerLost("killed")

    monkeypatch.setattr(bench.ingest._decider, "by_search", lost)
    bench.look("b.ppm", b"two")
    assert Outcome.PUT_OFF is bench.outcome
    assert [] == decide_due(bench)
    deadline = time.monotonic() + 10
    while not decide_due(bench):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [("b.ppm", "a.ppm")] == bench.told()
    assert 0 == len(bench.ingest.pending)


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


@pytest.mark.parametrize("order", ["before the store followed", "after"])
@pytest.mark.parametrize("verb", ["_decided", "decide"])
def test_a_file_that_is_renamed_while_it_is_taken_in_is_told_once(
    bench: Bench, order: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the name that it has then; no row stays behind: before the row is committed, or with a pending alert."""
    bench.decoders.number = 7  # a new content, with the hashes of a known one, has a pending alert
    owner, data = {
        "_decided": (bench.ingest, [b"one"]),
        "decide": (bench.ingest.pending, [b"one", b"two"]),
    }[verb]
    bench.look("a.ppm", data[0])
    bench.write("b.ppm", data[-1])
    real = getattr(owner, verb)

    def renamed_first(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        bench.rename("b.ppm", "c.ppm", told=order == "after")
        return real(*arguments, **options)

    monkeypatch.setattr(owner, verb, renamed_first)
    old = bench.look("b.ppm")
    new = bench.look("c.ppm")
    assert (None, [("c.ppm", "a.ppm")]) == (bench.row(old), bench.told())
    assert bench.row(new) is not None
    assert data == bench.decoders.decoded


def test_a_broken_file_that_is_renamed_before_its_row_is_stored_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename's event found no row to move: the outcome asks for a scan, which removes the row left behind."""
    path = bench.write("broken.ppm", b"no picture")

    def decode_and_rename(data: bytes, model: object) -> object:
        bench.rename("broken.ppm", "elsewhere.ppm", told=True)
        raise NotAnImage("no picture")

    monkeypatch.setattr(bench.decoders, "arrival", decode_and_rename)
    assert Outcome.MISSING is bench.ingest.ingest(path)


def decide_due(bench: Bench, *, is_scanning: bool = False, is_behind: bool = False) -> list[bool]:
    """Decide on the alerts put off, as the run's thread does between events; whether each was for the last time."""
    due = bench.ingest.pending.due(is_scanning=is_scanning, is_behind=is_behind)
    for pending, is_last in due:
        bench.ingest.pending.decide(pending, is_last=is_last)
    return [is_last for _, is_last in due]


@pytest.mark.parametrize("copy", [b"one", b"two"])
def test_a_match_that_is_renamed_meanwhile_is_waited_for(bench: Bench, copy: bytes) -> None:
    """The original is filed away while its copy is judged, and the rename's event comes after the search."""
    bench.decoders.number = 7  # the same hashes for all bytes
    bench.look("original.ppm", b"one")
    bench.rename("original.ppm", "filed.ppm", told=False)
    bench.look("copy.ppm", copy)
    assert Outcome.PUT_OFF is bench.outcome
    assert [] == decide_due(bench, is_behind=True)
    assert [] == decide_due(bench, is_scanning=True)
    paths = os.fsencode(bench.root / "original.ppm"), os.fsencode(bench.root / "filed.ppm")
    bench.store.write(lambda writer: apply_move(writer, *paths))
    assert [False] == decide_due(bench, is_behind=True, is_scanning=True)
    assert [("copy.ppm", "filed.ppm")] == bench.told()
    assert 0 == len(bench.ingest.pending)


def test_a_match_that_stays_missing_is_no_match_once_all_events_are_handled(bench: Bench) -> None:
    """Its disk is away: its row stays, and the alert is decided without it."""
    bench.look("original.ppm", b"one")
    os.unlink(bench.root / "original.ppm")
    bench.look("copy.ppm", b"one")
    assert {os.fsencode(bench.root)} == bench.ingest.pending.directories()
    assert [True] == decide_due(bench)
    assert [] == bench.told()
    assert 0 == len(bench.ingest.pending)


def test_another_name_of_the_same_file_is_no_new_picture(bench: Bench) -> None:
    """A hard link, as a bind mount or a linked root, shows one file under two names."""
    bench.look("a.ppm", b"one")
    bench.look("c.ppm", b"one")
    (bench.root / "b.ppm").hardlink_to(bench.root / "a.ppm")
    bench.look("b.ppm")
    assert ["c.ppm"] == [path for path, _ in bench.told()]


def test_another_name_is_told_if_the_first_has_still_to_be_decided(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first may be gone before its alert is decided."""
    bench.decoders.number = 7
    bench.look("a.ppm", b"one")
    decide, left = bench.ingest.pending.decide, list[PendingAlert]()
    monkeypatch.setattr(bench.ingest.pending, "decide", lambda pending: not left.append(pending))
    bench.look("b.ppm", b"two")
    (bench.root / "c.ppm").hardlink_to(bench.root / "b.ppm")
    bench.look("c.ppm")
    (bench.root / "b.ppm").unlink()
    for pending in left:
        decide(pending)
    assert [("c.ppm", "a.ppm")] == bench.told()


def test_new_metadata_in_a_known_file_tells_nothing_new(bench: Bench) -> None:
    """Its bytes differ, its pixels do not: neither the copy nor the original is a new picture."""
    bench.decoders.pixels = b"p" * 32
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"two")
    for name, data in (("b.ppm", b"two, tagged"), ("b.ppm", b"two, tagged again"), ("a.ppm", b"one, tagged")):
        bench.look(name, data)
    bench.decoders.pixels = b"q" * 32
    bench.look("b.ppm", b"another picture")
    assert [("b.ppm", "a.ppm")] == bench.told()


def test_new_metadata_while_the_alert_is_undecided_loses_no_alert(bench: Bench) -> None:
    """The pending alert of the first version is decided for the second."""
    bench.decoders.pixels = b"p" * 32
    bench.look("original.ppm", b"one")
    bench.rename("original.ppm", "filed.ppm", told=False)
    bench.look("copy.ppm", b"two")
    bench.look("copy.ppm", b"two, tagged")
    paths = os.fsencode(bench.root / "original.ppm"), os.fsencode(bench.root / "filed.ppm")
    bench.store.write(lambda writer: apply_move(writer, *paths))
    decide_due(bench)
    assert [("copy.ppm", "filed.ppm")] == bench.told()


def test_an_alert_names_the_best_match_and_counts_the_others(bench: Bench) -> None:
    """Without a look at each of them."""
    for number in range(5):
        bench.look(f"{number}.ppm", b"one")
    with bench.store.read() as reader:
        assert [1, 2, 3, 4] == [alert["matches"] for _, alert in reader.alerts()]


def test_a_silent_file_that_is_gone_when_it_was_stored_is_asked_about(bench: Bench) -> None:
    """Its row would stay behind."""
    bench.is_silent = True
    path = bench.write("a.ppm", b"one")
    bench.decoders.meanwhile = lambda: os.unlink(path)
    assert Outcome.MISSING == bench.ingest.ingest(path)


def test_a_move_that_nobody_told_of_raises_no_alert(bench: Bench) -> None:
    """As after a restart: same bytes and same stat as a known file that is gone."""
    bench.look("a.ppm", b"one")
    old = bench.look("b.ppm", b"one")
    bench.rename("b.ppm", "c.ppm", told=False)
    bench.look("c.ppm")
    assert (None, [("b.ppm", "a.ppm")]) == (bench.row(old), bench.told())


def test_a_file_that_no_longer_holds_what_is_known_is_no_match(bench: Bench) -> None:
    """It was replaced a moment ago, and not yet looked at."""
    bench.look("a.ppm", b"one")
    bench.write("a.ppm", b"two")
    bench.look("b.ppm", b"one")
    assert [] == bench.told()


def test_a_file_that_was_only_touched_is_a_match(bench: Bench) -> None:
    """Where its stat leaves a doubt, its bytes decide."""
    bench.look("a.ppm", b"one")
    os.utime(bench.root / "a.ppm", ns=(1, 1))
    bench.look("b.ppm", b"one")
    assert [("b.ppm", "a.ppm")] == bench.told()


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


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_crash_kept_from_being_told_is_told_once(
    tmp_path: Path, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its note, without a decode; a file that is gone is not told, and not known."""
    bench = Bench(tmp_path)
    bench.look("a.ppm", b"one")
    bench.ingest._arrivals.add(None)  # another file, which is being committed: the search is to be repeated
    monkeypatch.setattr(bench.ingest, "_decided", lambda *_, **__: None)
    monkeypatch.setattr(bench.ingest.pending, "decide", lambda _: True)
    path = bench.look("b.ppm", b"one")
    bench.close()
    if gone:
        os.unlink(path)
    bench = Bench(tmp_path)
    for pending in bench.ingest.pending.left():
        bench.ingest.pending.decide(pending)
    assert ([] if gone else [("b.ppm", "a.ppm")]) == bench.told()
    assert gone == (bench.row(path) is None)
    assert [] == bench.ingest.pending.left()
    assert [] == bench.decoders.decoded
    bench.close()


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
def test_known_bytes_take_four_snapshots_and_one_durable_write(
    bench: Bench, is_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row, the content, a file with the same bytes, and their number; the row and the alert."""
    bench.look("a.ppm", b"one")
    bench.is_silent = is_silent
    bench.write("b.ppm", b"one")
    with monkeypatch.context() as patch:
        counted = Counted(bench.store, patch)
        bench.look("b.ppm")
    assert (2 if is_silent else 4, 1) == (counted.reads, counted.writes)
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


def test_of_two_known_contents_that_arrive_together_only_the_later_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is searched for before the other is stored; the one that commits second notices, and searches again."""
    bench.decoders.number = 7  # the same hashes for all bytes
    for name, data in (("a.ppm", b"one"), ("b.ppm", b"two")):
        path = bench.look(name, data)
        os.unlink(path)
        bench.ingest.ingest(path, deleted=True)
    assert [("b.ppm", "a.ppm")] != bench.told()
    meeting = threading.Barrier(2)
    real = bench.ingest._commit

    def commit_together(*arguments: Any, **options: Any) -> Any:
        meeting.wait(10)
        return real(*arguments, **options)

    monkeypatch.setattr(bench.ingest, "_commit", commit_together)
    threads = [threading.Thread(target=bench.look, args=pair) for pair in (("c.ppm", b"one"), ("d.ppm", b"two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.told() in ([("c.ppm", "d.ppm")], [("d.ppm", "c.ppm")])


def test_the_earlier_of_two_is_told_of_no_later_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the later one was decided before it."""
    bench.decoders.number = 7
    decide, left = bench.ingest.pending.decide, list[PendingAlert]()
    monkeypatch.setattr(bench.ingest.pending, "decide", left.append)
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"two")
    for pending in reversed(left):
        decide(pending)
    assert [("b.ppm", "a.ppm")] == bench.told()


@pytest.mark.parametrize("data", [b"banned", b"like the banned one"])
def test_matches_may_be_limited_to_a_bank(bench: Bench, data: bytes) -> None:
    """The same bytes and a similar picture alert for the bank's file, and never for another upload."""
    bench.decoders.number = 7  # all are similar
    (bench.root / "bank").mkdir()
    bench.banks = (os.fsencode(bench.root / "bank"),)
    bench.look("upload1.ppm", b"harmless")
    bench.look("upload2.ppm", b"harmless")
    assert bench.told() == []
    bench.is_silent = True
    bench.look("bank/1.ppm", b"banned")
    bench.is_silent = False
    bench.look("upload3.ppm", data)
    assert bench.told() == [("upload3.ppm", "1.ppm")]


def test_by_hashes_alone_nothing_is_alerted(bench: Bench) -> None:
    """Without a vector a score is noise: the match is logged as related. The same bytes still alert."""
    bench.decoders.number, bench.decoders.has_model = 7, False  # the same hashes for all bytes
    bench.look("a.ppm", b"a")
    with capture_logs() as events:
        bench.look("b.ppm", b"b")
    assert bench.told() == []
    assert related(events) == [("info", "b.ppm", "a.ppm")]
    bench.look("c.ppm", b"a")
    assert bench.told() == [("c.ppm", "a.ppm")]


def related(events: list[Any]) -> list[tuple[str, str, str]]:
    """The lines of related pictures: (level, file, match)."""
    return [
        (event["log_level"], os.path.basename(event["path"]), os.path.basename(event["match"]))
        for event in events
        if event["event"] == "related_image"
    ]


def test_a_match_of_a_verdict_without_alerts_is_one_line(bench: Bench) -> None:
    """The best at info, the rest at debug; nothing is stored."""
    bench.decoders.number = 7  # the same hashes for all bytes: similar
    bench.verdicts = frozenset([Verdict.EXACT])
    for name in ("a.ppm", "b.ppm"):
        bench.look(name, name.encode())
    with capture_logs() as events:
        bench.look("c.ppm", b"c")
    assert related(events) == [("info", "c.ppm", "a.ppm"), ("debug", "c.ppm", "b.ppm")]
    (line, _) = (event for event in events if event["event"] == "related_image")
    assert (line["verdict"], line["score"]) == ("similar", 1.0)
    assert bench.told() == []


def test_a_match_in_a_crowd_of_like_pictures_is_no_news(bench: Bench) -> None:
    """Ten others are as near: none stands out, and all are at debug."""
    bench.decoders.number = 7
    bench.verdicts = frozenset([Verdict.EXACT])
    for number in range(10):
        bench.look(f"{number}.ppm", b"%d" % number)
    bench.decoders.number = 0b101
    with capture_logs() as events:
        bench.look("z.ppm", b"z")
    assert {level for level, *_ in related(events)} == {"debug"}


def test_beside_an_alert_related_pictures_are_at_debug(bench: Bench) -> None:
    """A file raises one line at info or above."""
    bench.decoders.number = 7
    bench.decoders.pixels = b"p" * 32
    bench.verdicts = frozenset([Verdict.EXACT])
    bench.look("b.ppm", b"b")
    bench.decoders.pixels = None
    bench.look("a.ppm", b"a")
    bench.decoders.pixels = b"p" * 32
    with capture_logs() as events:
        bench.look("c.ppm", b"c")
    assert related(events) == [("debug", "c.ppm", "a.ppm")]
    assert bench.told() == [("c.ppm", "b.ppm")]

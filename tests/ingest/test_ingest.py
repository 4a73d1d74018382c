"""A file's way in, with a real store and index; only the decoder is a fake."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from shazimd.errors import NotAnImage, WorkerFailed
from shazimd.index.flat import FlatIndex
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.ingest import Ingest, MatchSettings, RootPolicy, digest_of
from shazimd.ingest.moves import apply_move
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.telemetry.metrics import Metrics
from shazimd.types import FileRow, FileState, Fingerprint, Query, Signals, Verdict

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo


class FakeDecoders:
    """A picture is any bytes but those that begin with "bad"; its hashes come from its bytes."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """what happens on the disk while a picture is decoded"""

    def fingerprint(self, data: bytes, model: ModelInfo | None) -> Future[Fingerprint]:
        self.decoded.append(data)
        self.meanwhile()
        done: Future[Fingerprint] = Future()
        if data.startswith(b"bad"):
            done.set_exception(NotAnImage("no picture"))
        elif data.startswith(b"crash"):
            done.set_exception(WorkerFailed("crashed its worker"))
        else:
            number = int.from_bytes(digest_of(data)[:8], "big")
            done.set_result(Fingerprint(Signals(number, number, None), None, 4, 3, "PPM"))
        return done

    def query(self, data: bytes, model: ModelInfo | None) -> Future[Query]:
        done: Future[Query] = Future()
        try:
            fingerprint = self.fingerprint(data, model).result()
        except (NotAnImage, WorkerFailed) as error:
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
        self.library = Library(self.store, lambda _, __: FlatIndex())
        self.alerts = Alerts(self.store)
        self.committer = Committer(self.store)
        self.silent = False
        self.unsettled: list[bytes] = []
        self.missing: list[bytes] = []
        self.linked: list[None] = []
        self.ingest = Ingest(
            self.library,
            self.committer,
            self.decoders,
            Search(self.library, None),
            self.alerts,
            RootPolicy(silent=lambda _: self.silent, follows_symlinks=lambda _: True),
            MatchSettings(0.75, (1.0, 1.0, 2.0), frozenset(Verdict)),
            Metrics(),
            max_file_bytes=1000,
            unsettled=self.unsettled.append,
            missing=self.missing.append,
            linked=lambda: self.linked.append(None),
        )

    def close(self) -> None:
        self.committer.close()
        self.library.close()
        self.store.close()

    def write(self, name: str, data: bytes) -> bytes:
        path = self.root / name
        path.write_bytes(data)
        return os.fsencode(path)

    def look(self, name: str, data: bytes | None = None, **options: Any) -> bytes:
        """Write a file, if data is given, and look at it."""
        path = os.fsencode(self.root / name) if data is None else self.write(name, data)
        self.ingest.look(path, **options)
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
    bench.ingest.look(path)
    assert [path] == bench.unsettled
    bench.ingest.look(path)
    row = bench.row(path)
    assert row is not None
    assert (FileState.INDEXED, [("known.ppm", "original.ppm")]) == (row.state, bench.told())


def test_the_same_bytes_are_decoded_once_and_told_as_a_copy(bench: Bench) -> None:
    """The second file costs a read."""
    bench.look("a.ppm", b"one")
    bench.look("b.ppm", b"one")
    assert ([b"one"], [("b.ppm", "a.ppm")]) == (bench.decoders.decoded, bench.told())


def test_a_file_that_did_not_change_is_not_read(bench: Bench) -> None:
    """Size, mtime and inode are known."""
    path = bench.look("a.ppm", b"one")
    os.chmod(path, 0)
    with capture_logs() as logs:
        bench.look("a.ppm")
    assert [] == logs


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
    bench.silent = True
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
    found = bench.ingest._stat(path)
    bench.write("a.ppm", b"half and half")
    monkeypatch.setattr(bench.ingest, "_stat", lambda _: found)
    bench.ingest.look(path)
    assert ([path], None, []) == (bench.unsettled, bench.row(path), bench.decoders.decoded)


def test_what_was_deleted_is_forgotten_and_what_is_missing_is_asked_about(bench: Bench) -> None:
    """A disk that is away deletes nothing."""
    gone, away = bench.look("gone.ppm", b"one"), bench.look("away.ppm", b"two")
    os.unlink(gone)
    os.unlink(away)
    bench.ingest.look(gone, deleted=True)
    bench.ingest.look(away)
    assert (None, [away]) == (bench.row(gone), bench.missing)
    assert bench.row(away) is not None


@pytest.mark.parametrize("order", ["before the store followed", "after"])
def test_a_file_that_is_renamed_while_it_is_taken_in_is_told_once(
    bench: Bench, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the name that it has then; no row stays behind."""
    bench.look("a.ppm", b"one")
    bench.write("b.ppm", b"one")
    real = bench.ingest._tell

    def tell(*arguments: Any) -> None:
        monkeypatch.undo()
        bench.rename("b.ppm", "c.ppm", told=order == "after")
        real(*arguments)

    monkeypatch.setattr(bench.ingest, "_tell", tell)
    old = bench.look("b.ppm")
    new = bench.look("c.ppm")
    assert (None, [("c.ppm", "a.ppm")]) == (bench.row(old), bench.told())
    assert bench.row(new) is not None
    assert [b"one"] == bench.decoders.decoded


def test_a_silent_file_that_is_gone_when_it_was_stored_is_asked_about(bench: Bench) -> None:
    """Its row would stay behind."""
    bench.silent = True
    path = bench.write("a.ppm", b"one")
    bench.decoders.meanwhile = lambda: os.unlink(path)
    bench.ingest.look(path)
    assert [path] == bench.missing


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
    assert [] == bench.linked
    (bench.root / "b.ppm").hardlink_to(bench.root / "a.ppm")
    bench.look("b.ppm")
    assert [] == bench.linked
    bench.look("a.ppm", b"three")
    assert [None] == bench.linked


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_crash_kept_from_being_told_is_told_once(
    tmp_path: Path, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its note, without a decode; a file that is gone is not told, and not known."""
    bench = Bench(tmp_path)
    bench.look("a.ppm", b"one")
    monkeypatch.setattr(bench.ingest, "_tell", lambda *_: None)
    path = bench.look("b.ppm", b"one")
    bench.close()
    if gone:
        os.unlink(path)
    bench = Bench(tmp_path)
    works = list(bench.ingest.tell_untold())
    for _, work in works:
        work()
    assert ([] if gone else [("b.ppm", "a.ppm")]) == bench.told()
    assert gone == (bench.row(path) is None)
    assert [] == list(bench.ingest.tell_untold())
    assert [] == bench.decoders.decoded
    bench.close()

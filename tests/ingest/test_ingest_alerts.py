"""An alert for each new copy, once, whatever is renamed, changed or lost meanwhile."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ingest_bench import Bench
from patience import PATIENCE_S

from shazimd.errors import NotAnImage, WorkerLost
from shazimd.ingest.ingest import Outcome
from shazimd.ingest.moves import apply_move
from shazimd.ingest.pending import PendingAlert
from shazimd.ingest.retries import DELAY_S


def test_an_alert_whose_worker_was_lost_is_decided_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a delay; until then it is pending, and a restart would decide it."""
    bench.decoders.number = 7
    bench.look("a.ppm", b"one")
    real = bench.ingest._decider.by_search

    def lost(*_: Any) -> Any:
        monkeypatch.setattr(bench.ingest._decider, "by_search", real)
        raise WorkerLost("killed")

    now = time.perf_counter()
    monkeypatch.setattr(bench.ingest._decider, "by_search", lost)
    monkeypatch.setattr("shazimd.ingest.pending.time", SimpleNamespace(perf_counter=lambda: now))
    bench.look("b.ppm", b"two")
    assert Outcome.PUT_OFF is bench.outcome
    now += 0.9 * DELAY_S
    assert [] == decide_due(bench)
    now += 0.2 * DELAY_S
    assert [False] == decide_due(bench)
    assert [("b.ppm", "a.ppm")] == bench.told()
    assert 0 == len(bench.ingest.pending)


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


def test_an_alert_counts_the_copies_that_are_left(bench: Bench) -> None:
    """A moved copy once, and neither a deleted copy nor the file itself, which had other bytes."""
    for name in ("a.ppm", "b.ppm", "c.ppm"):
        bench.look(name, b"one")
    bench.look("new.ppm", b"two")
    bench.rename("b.ppm", "moved.ppm", told=True)
    (bench.root / "c.ppm").unlink()
    bench.ingest.ingest(os.fsencode(bench.root / "c.ppm"), deleted=True)
    bench.look("new.ppm", b"one")
    with bench.store.read() as reader:
        (_, alert), *_ = reader.latest_alerts(1)
    assert (os.path.basename(alert["path"]), alert["matches"]) == ("new.ppm", 2)


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
        meeting.wait(PATIENCE_S)
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


def test_a_wait_for_changes_lasts_until_the_alert_of_the_file_is_decided(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To tell other hosts of the file would take processor time from its search."""
    changes, order = bench.store.file_changes, list[str]()
    monkeypatch.setattr(changes, "_deferred_max_s", PATIENCE_S)
    decide = bench.ingest.pending.decide

    def wait() -> None:
        changes.wait(0, PATIENCE_S)
        order.append("woken")

    waiting = threading.Thread(target=wait, daemon=True)

    def decided(pending: PendingAlert) -> bool:
        assert 1 == changes.number
        waiting.start()
        waiting.join(0.1)  # it would be woken by now
        order.append("decided")
        return decide(pending)

    monkeypatch.setattr(bench.ingest.pending, "decide", decided)
    bench.look("a.ppm", b"one")
    waiting.join(PATIENCE_S)
    assert ["decided", "woken"] == order

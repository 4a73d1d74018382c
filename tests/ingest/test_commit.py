"""Group commit on a real store; a full disk is a store that refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from patience import PATIENCE_S, wait_for

from shazimd.errors import StoreError, StoreFull
from shazimd.ingest import commit
from shazimd.ingest.commit import Committer
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store

T = TypeVar("T")

NEVER_S = 1e6
"""Longer than any test: a write that lingers so long is found missing."""


class Disk:
    """Makes a store refuse or hold its writes."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.refused = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()
        """set by the first write, which may be held"""
        self.writes = 0
        self._write = store.write
        monkeypatch.setattr(store, "write", self.write)

    def write(self, work: Callable[[Writer], T]) -> T:
        self.begun.set()
        self.free.wait(PATIENCE_S)
        if self.is_full:
            self.refused.set()
            raise StoreFull("no room, expected some")
        self.writes += 1
        return self._write(work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 << 20)
    yield opened
    opened.close()


@pytest.fixture
def disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(store, monkeypatch)


@pytest.fixture
def committer(store: Store, disk: Disk) -> Iterator[Committer]:
    made = Committer(store, retry_s=0.01)
    yield made
    made.close()


def set_value(key: str, value: Any = True) -> Callable[[Writer], None]:
    return lambda writer: writer.set(key, value)


@contextmanager
def coming(committer: Committer, count: int) -> Iterator[None]:
    """While entered, so many are at work on something to write."""
    with ExitStack() as entered:
        for _ in range(count):
            entered.enter_context(committer.coming())
        yield


def write_none(result: int, _: Writer) -> int:
    return result


def value_of(store: Store, key: str) -> Any:
    with store.read() as reader:
        return reader.get(key)


def test_patient_writes_share_a_flush_and_an_impatient_one_does_not_wait(
    committer: Committer, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits for the others until somebody needs his own."""
    monkeypatch.setattr(commit, "LINGER_S", NEVER_S)
    with coming(committer, 6):
        patient = [committer.submit(set_value(f"p{i}"), may_linger=True) for i in range(5)]
        assert not any(done.done() for done in patient)
        committer.submit(set_value("now")).result(PATIENCE_S)
    assert (True, 1) == (all(done.done() for done in patient), disk.writes)


def test_a_patient_write_alone_is_written_at_once(
    store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for nobody when nobody is at work."""
    monkeypatch.setattr(commit, "LINGER_S", NEVER_S)
    committer.submit(set_value("alone"), may_linger=True).result(PATIENCE_S)
    assert value_of(store, "alone")


def test_a_patient_write_waits_no_longer_than_a_moment(store: Store, committer: Committer) -> None:
    """The other one may take long."""
    with coming(committer, 2):
        committer.submit(set_value("first"), may_linger=True).result(PATIENCE_S)
        assert value_of(store, "first")


def test_patient_writes_wait_for_all_that_are_at_work(
    disk: Disk, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last that comes, or leaves without a write, ends the wait."""
    monkeypatch.setattr(commit, "LINGER_S", NEVER_S)
    with coming(committer, 1):
        with coming(committer, 2):
            two = [committer.submit(set_value(f"{n}"), may_linger=True) for n in range(2)]
            assert not any(done.done() for done in two)
        for done in two:
            done.result(PATIENCE_S)
    with coming(committer, 2):
        for done in [committer.submit(set_value(f"{n}"), may_linger=True) for n in range(2)]:
            done.result(PATIENCE_S)
    assert disk.writes == 2


def test_enough_patient_writes_wait_for_no_more(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush is shared well enough then."""
    monkeypatch.setattr(commit, "LINGER_S", NEVER_S)
    monkeypatch.setattr(commit, "LINGER_MAX", 3)
    with coming(committer, 10):
        for done in [committer.submit(set_value(f"{n}"), may_linger=True) for n in range(3)]:
            done.result(PATIENCE_S)


def test_results_of_a_batch_are_followed_together(disk: Disk, committer: Committer) -> None:
    """Before anything that follows a single one."""
    disk.free.clear()
    seen: list[object] = []
    alone = committer.submit(set_value("alone"))
    assert disk.begun.wait(PATIENCE_S)  # the next gather meanwhile, and are one batch
    done = [committer.submit(partial(write_none, n), seen.append, together=seen.append) for n in range(3)]
    disk.free.set()
    alone.result(PATIENCE_S)
    assert [0, 1, 2] == [future.result(PATIENCE_S) for future in done]
    assert [[0, 1, 2], 0, 1, 2] == seen


def test_a_result_that_fails_together_fails_alone(disk: Disk, committer: Committer) -> None:
    """The others are followed one by one, and nothing follows the one that fails."""
    disk.free.clear()
    seen: list[object] = []

    def refuse_one(results: Sequence[int]) -> None:
        if 1 in results:
            raise KeyError("as a test")
        seen.append(list(results))

    alone = committer.submit(set_value("alone"))
    assert disk.begun.wait(PATIENCE_S)
    zero, one, two = (committer.submit(partial(write_none, n), seen.append, together=refuse_one) for n in range(3))
    disk.free.set()
    with pytest.raises(KeyError):
        one.result(PATIENCE_S)
    assert [None, 0, 2] == [alone.result(PATIENCE_S), zero.result(PATIENCE_S), two.result(PATIENCE_S)]
    assert [[0], [2], 0, 2] == seen


def test_what_is_done_is_in_the_store(store: Store, committer: Committer) -> None:
    """The future is done once the write is durable and ``then`` has seen the result."""
    seen: list[int] = []
    assert 7 == committer.submit(lambda writer: writer.set("a", 7) or 7, seen.append).result(PATIENCE_S)
    assert (7, [7]) == (value_of(store, "a"), seen)


def test_what_many_submit_at_once_is_one_write(store: Store, disk: Disk, committer: Committer) -> None:
    """What gathers during a write goes together, in the order in which it came."""
    disk.free.clear()
    order: list[int] = []

    def note(number: int, _: object) -> None:
        order.append(number)

    done = [committer.submit(set_value(f"{n}", n), partial(note, n)) for n in range(100)]
    disk.free.set()
    for future in done:
        future.result(PATIENCE_S)
    assert list(range(100)) == order
    assert disk.writes <= 2
    assert 99 == value_of(store, "99")


def test_no_batch_is_longer_than_the_longest(disk: Disk, committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a reader of his own write does not wait for everybody's."""
    monkeypatch.setattr(commit, "BATCH_MAX", 10)
    disk.free.clear()
    done = [committer.submit(set_value(f"{n}")) for n in range(100)]
    disk.free.set()
    for future in done:
        future.result(PATIENCE_S)
    assert disk.writes >= 10


def test_one_that_fails_takes_no_other_with_it(store: Store, disk: Disk, committer: Committer) -> None:
    """Its own future has the error; those beside it are written."""
    disk.free.clear()
    good = committer.submit(set_value("good"))
    bad = committer.submit(lambda writer: writer.set("half", 1) or 1 / 0)
    also_good = committer.submit(set_value("also good"))
    disk.free.set()
    with pytest.raises(ZeroDivisionError):
        bad.result(PATIENCE_S)
    good.result(PATIENCE_S)
    also_good.result(PATIENCE_S)
    assert [True, None, True] == [value_of(store, key) for key in ("good", "half", "also good")]


def test_an_error_of_what_follows_is_told_and_the_write_stays(store: Store, committer: Committer) -> None:
    """The thread that writes goes on."""

    def fail(_: None) -> None:
        raise KeyError("as a test")

    with pytest.raises(KeyError):
        committer.submit(set_value("a"), fail).result(PATIENCE_S)
    assert value_of(store, "a")
    committer.submit(set_value("b")).result(PATIENCE_S)
    assert value_of(store, "b")


def test_a_full_disk_holds_back_until_there_is_room(store: Store, disk: Disk, committer: Committer) -> None:
    """Nothing is lost, and the fault is shown while it lasts."""
    disk.is_full = True
    done = committer.submit(set_value("a"))
    wait_for(lambda: committer.fault)
    assert (False, "no room, expected some") == (done.done(), committer.fault)
    disk.is_full = False
    done.result(PATIENCE_S)
    assert (True, None) == (value_of(store, "a"), committer.fault)


def test_what_follows_a_write_waits_for_room_too(committer: Committer) -> None:
    """The index may find its disk full when the store did not; what comes later waits behind it."""
    tries: list[str] = []

    def needs_room(_: Any) -> None:
        tries.append("first")
        if len(tries) < 3:
            raise StoreFull("index: no room")

    first = committer.submit(set_value("a"), needs_room)
    second = committer.submit(set_value("b"), lambda _: tries.append("second"))
    second.result(PATIENCE_S)
    first.result(PATIENCE_S)
    assert ["first", "first", "first", "second"] == tries


def test_no_caller_goes_on_before_the_lines_of_its_batch_are_logged(disk: Disk, committer: Committer) -> None:
    """They are written together: who waits for an alert finds it in the log."""
    disk.free.clear()
    alone = committer.submit(set_value("alone"))
    assert disk.begun.wait(PATIENCE_S)  # the next two gather meanwhile, and are one batch
    done: list[bool] = []
    first = committer.submit(set_value("first"))
    second = committer.submit(set_value("second"), lambda _: done.append(first.done()))
    disk.free.set()
    for future in (alone, first, second):
        future.result(PATIENCE_S)
    assert [False] == done


def test_impatience_gives_up_what_a_full_disk_holds_back(disk: Disk, committer: Committer) -> None:
    """Who stops gets an error instead of waiting for room; afterwards writes are held back again."""
    disk.is_full = True
    held = committer.submit(set_value("a"))
    assert disk.refused.wait(PATIENCE_S)
    with committer.giving_up_when_full():
        with pytest.raises(StoreFull):
            held.result(PATIENCE_S)
        with pytest.raises(StoreFull):
            committer.submit(set_value("b")).result(PATIENCE_S)
    disk.refused.clear()
    later = committer.submit(set_value("c"))
    assert disk.refused.wait(PATIENCE_S)
    disk.is_full = False
    later.result(PATIENCE_S)


def test_closing_writes_what_is_queued_and_takes_no_more(store: Store, disk: Disk) -> None:
    """An operation that was taken is written; one that comes later is refused."""
    committer = Committer(store)
    disk.free.clear()
    done = [committer.submit(set_value(f"{n}")) for n in range(10)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(committer.close)
        disk.free.set()
        closing.result(PATIENCE_S)
    assert all(future.done() for future in done)
    assert value_of(store, "9")
    with pytest.raises(StoreError, match="being closed"):
        committer.submit(set_value("late"))


def test_closing_does_not_wait_for_room(store: Store, disk: Disk) -> None:
    """Each waiter is told."""
    disk.is_full = True
    committer = Committer(store, retry_s=3600)
    done = [committer.submit(set_value(f"{n}")) for n in range(10)]
    assert disk.refused.wait(PATIENCE_S)
    committer.close()
    for future in done:
        assert isinstance(future.exception(PATIENCE_S), StoreFull)

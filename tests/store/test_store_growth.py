"""Threads: readers beside a writer, a map that grows under them, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
from pathlib import Path

import lmdb
import pytest
from patience import PATIENCE_S, wait_for

from shazimd.errors import StoreDamaged, StoreError
from shazimd.fingerprint import Fingerprint
from shazimd.store import lmdb_store
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import Gate, Store, open_data, open_store
from shazimd.store.tables import Tables

MIB = 1 << 20


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with a map of 1 MiB that grows in small steps, to see many of them."""
    monkeypatch.setattr(lmdb_store, "GROWTH_BYTES_MIN", MIB)
    opened = open_store(str(tmp_path / "store"), MIB)
    yield opened
    opened.close()


def test_the_map_grows_under_running_readers(small: Store, make_fingerprint: Callable[..., Fingerprint]) -> None:
    """While four threads read without a pause, writes fill the map again and again, and nobody sees anything odd."""
    together, done = threading.Barrier(5), threading.Event()
    features = b"f" * 80_000

    def read() -> None:
        together.wait(PATIENCE_S)
        while not done.is_set():
            with small.read() as reader:
                ids = [content for content, _ in reader.signals("m")]
                assert ids == list(range(1, len(ids) + 1))
                assert all(reader.features(content) == features for content in ids[-3:])

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            together.wait(PATIENCE_S)
            for n in range(200):
                small.write(methodcaller("add_content", b"%d" % n, make_fingerprint(n, features=features)))
        finally:
            done.set()
        for each in readers:
            each.result()
    assert small.info()["map_size_bytes"] >= 16 * MIB
    assert small.check() == []


def test_one_write_larger_than_the_map_is_run_again(small: Store, make_fingerprint: Callable[..., Fingerprint]) -> None:
    """The work runs until it fits, and counts once."""
    runs = []

    def work(w: Writer) -> None:
        runs.append(w.counts()["contents"])
        for n in range(200):
            w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 20_000))

    small.write(work)
    assert len(runs) > 1
    assert set(runs) == {0}
    with small.read() as reader:
        assert reader.counts()["contents"] == 200
    assert small.check() == []


def test_growth_goes_in_large_steps(tmp_path: Path, make_fingerprint: Callable[..., Fingerprint]) -> None:
    """At least a GiB of address space at a time."""
    store = open_store(str(tmp_path / "store"), MIB)
    store.write(lambda w: [w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 20_000)) for n in range(100)])
    assert store.info()["map_size_bytes"] == MIB + (1 << 30)
    store.close()


def test_a_write_inside_a_read_is_refused(store: Store) -> None:
    """The map could not grow then. So it is refused always, not only on that day; and so is a write inside a write."""
    with store.read() as reader, store.read():
        with pytest.raises(RuntimeError, match="outside"):
            store.write(lambda w: w.set("k", 1))
        assert reader.get("k") is None
    with pytest.raises(RuntimeError, match="outside"):
        store.write(lambda w: store.write(lambda v: v.set("k", 1)))
    store.write(lambda w: w.set("k", 1))


def test_writers_take_turns(store: Store) -> None:
    """Eight threads that count together lose nothing."""

    def count(w: Writer) -> None:
        w.set("n", (w.get("n") or 0) + 1)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(store.write, count) for _ in range(200)]:
            future.result()
    with store.read() as reader:
        assert reader.get("n") == 200


def test_a_reader_that_never_ends_is_named_at_last(
    small: Store, monkeypatch: pytest.MonkeyPatch, make_fingerprint: Callable[..., Fingerprint]
) -> None:
    """A write that can't grow for it fails and says why, instead of hanging; once it has ended writes go on."""
    monkeypatch.setattr(lmdb_store, "PATIENCE_S", 0.05)

    def work(w: Writer) -> None:
        for n in range(100):
            w.add_content(b"%d" % n, make_fingerprint(n, features=b"f" * 20_000))

    with small.read() as reader, ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoreError, match="still open"):
            pool.submit(small.write, work).result()
        assert reader.counts()["contents"] == 0
    small.write(work)
    with small.read() as reader:
        assert reader.counts()["contents"] == 100


def test_a_store_that_cannot_be_opened_anew_stays_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the first try is raised, and the second one opens the store."""
    tries = 0

    def failing(directory: str, map_size_bytes: int) -> tuple[lmdb.Environment, Tables]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreDamaged("a table is missing")
        return open_data(directory, map_size_bytes)

    monkeypatch.setattr(lmdb_store, "open_data", failing)
    with pytest.raises(StoreDamaged, match="a table is missing"):
        store.compact()
    store.write(lambda w: w.set("k", 1))


def test_a_closed_store_says_so(store: Store) -> None:
    """Reads and writes after the end are errors of the store; closing twice is fine."""
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"), store.read():
        pass
    with pytest.raises(StoreError, match="closed"):
        store.write(lambda w: w.set("k", 1))


def test_closing_waits_for_readers(store: Store) -> None:
    """A reader that is inside finishes its work on an open store."""
    with ThreadPoolExecutor(1) as pool:
        with store.read() as reader:
            closing = pool.submit(store.close)
            assert reader.counts()["images"] == 0
            assert not closing.done()
        closing.result()


def test_an_iterator_that_outlives_its_reader_is_an_error(store: Store) -> None:
    """It neither crashes the process nor goes on reading."""
    store.write(lambda w: [w.add_alert({"n": n}) for n in range(3)])
    with store.read() as reader:
        alerts = reader.alerts()
        next(alerts)
    with pytest.raises(lmdb.Error, match="closed"):
        next(alerts)


def test_a_gate_lets_a_thread_in_again_while_another_waits_to_be_alone() -> None:
    """Who is inside may nest, or both would wait for ever; newcomers wait behind the one who wants to be alone."""
    gate = Gate()
    order: list[str] = []

    def alone() -> None:
        with gate.alone(timeout_s=PATIENCE_S):
            order.append("alone")

    def newcomer() -> None:
        with gate.shared():
            order.append("newcomer")

    with ThreadPoolExecutor(2) as pool:
        with gate.shared():
            waiting = pool.submit(alone)
            wait_for(lambda: gate._claims)
            late = pool.submit(newcomer)
            with gate.shared():
                order.append("nested")
        waiting.result()
        late.result()
    assert order == ["nested", "alone", "newcomer"]
    assert not gate.holds()

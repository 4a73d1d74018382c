"""Memory that the daemon gives back at rest."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_for

from shazimd.config import Config, ModelConfig, StoreConfig, WatchConfig, WorkersConfig
from shazimd.daemon import rest as module
from shazimd.daemon.app import App
from shazimd.daemon.rest import REST_S, Rest
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.store.lmdb_store import Store, open_store

VALUE = bytes(4 << 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path), 1 << 30)) as opened:
        opened.write(lambda writer: writer.set("large", VALUE.hex()))
        yield opened


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs(threads=1)
    yield made
    made.close()


def _resident_of_store_kib() -> int:
    mappings = re.split(r"^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    found = [re.search(r"^Rss: +(\d+) kB$", each, re.MULTILINE) for each in mappings if "/data.mdb\n" in each]
    return sum(int(each[1]) for each in found if each)


def _read(store: Store) -> object:
    with store.read() as reader:
        return reader.get("large")


def test_at_rest_no_page_of_the_store_is_resident(store: Store, jobs: Jobs) -> None:
    """They are read again when somebody asks; until the next event there is nothing to wait for."""
    rest = Rest(store, jobs)
    assert VALUE.hex() == _read(store)
    assert _resident_of_store_kib() >= len(VALUE) >> 10
    rest.begin()
    assert (None, 0) == (rest.after_s, _resident_of_store_kib())
    assert VALUE.hex() == _read(store)


@pytest.mark.parametrize("lane", [Lane.BACKLOG, Lane.IDLE])
def test_there_is_no_rest_while_a_job_runs(store: Store, jobs: Jobs, lane: Lane) -> None:
    """Also of those that nobody waits for, such as the comparison in the background."""
    begun, ended, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert ended.wait(PATIENCE_S)

    jobs.offer("long", work, lane)
    jobs.offer("next", done.set, Lane.IDLE)
    assert begun.wait(PATIENCE_S)
    rest = Rest(store, jobs)
    _read(store)
    rest.begin()
    assert REST_S == rest.after_s
    assert _resident_of_store_kib() >= len(VALUE) >> 10
    ended.set()
    assert done.wait(PATIENCE_S)


def test_at_work_the_store_goes_now_and_then(store: Store, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at each event."""
    _read(store)
    Rest(store, jobs).end()
    assert _resident_of_store_kib() >= len(VALUE) >> 10
    monkeypatch.setattr(module, "REST_S", 0.0)
    Rest(store, jobs).end()
    assert 0 == _resident_of_store_kib()


def test_an_event_ends_the_rest(store: Store, jobs: Jobs) -> None:
    """The memory that it takes goes back after it."""
    rest = Rest(store, jobs)
    rest.begin()
    rest.end()
    _read(store)
    rest.begin()
    assert (None, 0) == (rest.after_s, _resident_of_store_kib())


def test_a_daemon_rests_without_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some time after its start, and nobody asks for it."""
    monkeypatch.setattr(module, "REST_S", 0.01)
    (tmp_path / "root").mkdir()
    config = Config(
        watch=(WatchConfig(path=str(tmp_path / "root")),),
        model=ModelConfig(handle="none"),
        workers=WorkersConfig(processes=1),
        store=StoreConfig(path=str(tmp_path / "store")),
    )
    with closing(App(config, lambda: config)) as app:

        def is_at_rest() -> bool:
            app.run._rest.end()  # as by an event: jobs of the start may come after the first rest
            app.run._debouncer.wake()
            return _resident_of_store_kib() == 0

        assert _resident_of_store_kib() > 0
        app.start()
        wait_for(is_at_rest)
        app.stop()

"""Whether all that happened was told: what `shazimctl wait` relies on."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_for

from shazimd.config import WatchConfig
from shazimd.watch.debounce import Debouncer
from shazimd.watch.events import FileEvent, Kind, Stage
from shazimd.watch.filters import Filter
from shazimd.watch.inotify import Inotify, InotifyEvent
from shazimd.watch.tree import Watches
from shazimd.watch.watcher import Watcher


def test_a_watcher_that_is_not_behind_has_told_of_all_that_happened(tmp_path: Path) -> None:
    """From the start on, and whatever it was busy with: nothing that was made before the question is still to come."""
    config = WatchConfig(path=str(tmp_path))
    told: set[bytes] = set()
    watcher = Watcher(config, Filter(config), lambda event: told.add(event.path), Watches())
    assert not watcher.is_behind()
    watcher.start()
    end = time.monotonic() + PATIENCE_S
    while watcher.is_behind():
        assert time.monotonic() < end
    assert {os.fsencode(tmp_path)} == told
    for number in range(200):
        path = tmp_path / f"{number}.jpg"
        path.touch()
        if number % 3 == 0:
            path = path.rename(tmp_path / f"renamed{number}.jpg")
        while watcher.is_behind():
            assert time.monotonic() < end
        assert os.fsencode(path) in told
    watcher.stop()
    assert not watcher.is_behind()


def test_events_lost_during_the_question_leave_it_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk that makes them good is due as soon as the reading thread is through with the loss."""
    config = WatchConfig(path=str(tmp_path))
    watcher = Watcher(config, Filter(config), lambda event: None, Watches())
    watcher.start()
    wait_for(lambda: not watcher.is_behind())

    def lose() -> bool:
        watcher._due = True  # without waking its thread: the walk is still to come
        return False

    monkeypatch.setattr(watcher._watches, "is_behind", lose)
    assert watcher.is_behind()
    watcher.stop()


def test_what_was_given_is_pending_until_more_is_asked_for() -> None:
    """Between the debouncer and what comes after it nothing is out of sight."""
    debouncer = Debouncer({b"/r": 0.0})
    debouncer.put(FileEvent(Kind.FILE, b"/r/a.jpg", stage=Stage.CLOSED))
    debouncer.put(FileEvent(Kind.TREE, b"/r"))
    assert 2 == debouncer.pending()
    given = debouncer.take(PATIENCE_S)
    assert len(given) <= debouncer.pending() <= 2
    while len(given) < 2:
        given += debouncer.take(PATIENCE_S)
    assert debouncer.pending() > 0
    taking = threading.Thread(target=debouncer.take)
    taking.start()
    end = time.monotonic() + PATIENCE_S
    while debouncer.pending():
        assert time.monotonic() < end
    debouncer.close()
    taking.join()


class Failing:
    """A listener with a fault of its own."""

    def __init__(self) -> None:
        self.reader = Inotify(self)
        self.was_behind: list[bool] = []

    def handle_event(self, event: InotifyEvent) -> None:
        raise ZeroDivisionError

    def handle_move(self, source: InotifyEvent, target: InotifyEvent) -> None:
        raise ZeroDivisionError

    def handle_loss(self, reason: str) -> None:
        self.was_behind.append(self.reader.is_behind())


def test_a_reader_that_died_is_behind_until_its_loss_is_handled(tmp_path: Path) -> None:
    """Its last events were not reported, and no one has asked for a scan yet."""
    failing = Failing()
    failing.reader.start()
    failing.reader.watch(os.fsencode(tmp_path))
    (tmp_path / "a.jpg").touch()
    wait_for(lambda: failing.was_behind)
    wait_for(lambda: not failing.reader.is_behind())
    failing.reader.stop()
    assert [True] == failing.was_behind

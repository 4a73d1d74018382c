"""Both halves of a rename: when they belong together, and what a half alone means."""

from __future__ import annotations

import operator
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from patience import wait_for
from watch_mirror import Mirror

from shazimd.watch import inotify
from shazimd.watch.events import FileEvent, Kind
from shazimd.watch.inotify import IN, Inotify, InotifyEvent

FROM, TO = InotifyEvent(1, IN.IN_MOVED_FROM, 5, b"a.jpg"), InotifyEvent(1, IN.IN_MOVED_TO, 5, b"b.jpg")


class Kernel:
    """A reader whose queue the test writes; listens itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue, self._queue = os.pipe()
        monkeypatch.setattr(inotify, "inotify_init", lambda: queue)
        self.heard: list[InotifyEvent | tuple[InotifyEvent, InotifyEvent]] = []
        self.reader = Inotify(self)
        self.reader.start()

    def queue(self, *events: InotifyEvent) -> None:
        """All at once."""
        packed = (struct.pack("iIII16s", event.wd, event.mask, event.cookie, 16, event.name) for event in events)
        os.write(self._queue, b"".join(packed))

    def close(self) -> None:
        self.reader.stop()
        os.close(self._queue)

    def handle_event(self, event: InotifyEvent) -> None:
        self.heard.append(event)

    def handle_move(self, source: InotifyEvent, target: InotifyEvent) -> None:
        self.heard.append((source, target))

    def handle_loss(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(monkeypatch)
    yield made
    made.close()


def test_a_half_alone_is_given_up(kernel: Kernel) -> None:
    """A MOVED_FROM without its other half in time is a departure; a MOVED_TO that comes later is an arrival."""
    kernel.queue(FROM)
    wait_for(lambda: [FROM] == kernel.heard)
    kernel.queue(TO)
    wait_for(lambda: [FROM, TO] == kernel.heard)


def test_halves_are_paired_though_other_events_come_between(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that renames may be off its processor between the two, while others write."""
    monkeypatch.setattr(inotify, "_UNPAIRED_S", 3600)
    kernel.queue(FROM)
    others = [InotifyEvent(1, IN.IN_CLOSE_WRITE, 0, b"%d.jpg" % number) for number in range(3)]
    for number, other in enumerate(others, 1):
        kernel.queue(other)
        wait_for(partial(operator.eq, others[:number], kernel.heard))
    assert kernel.reader.is_behind()
    kernel.queue(TO)
    wait_for(lambda: [*others, (FROM, TO)] == kernel.heard)


@pytest.mark.parametrize("mask", [IN.IN_CREATE, IN.IN_MOVED_FROM, IN.IN_MOVED_TO])
def test_a_departure_is_told_before_the_successor_of_its_name(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Its other half can't come any more; in another order the successor would be taken for gone."""
    monkeypatch.setattr(inotify, "_UNPAIRED_S", 3600)
    successor = InotifyEvent(1, mask, 7 if mask != IN.IN_CREATE else 0, b"a.jpg")
    kernel.queue(FROM, successor, TO)
    expected = [FROM, TO] if mask == IN.IN_MOVED_FROM else [FROM, successor, TO]  # such a successor is held itself
    wait_for(lambda: expected == kernel.heard)


@pytest.mark.usefixtures("whole_renames")
def test_a_directory_that_takes_the_place_of_one_moved_out_is_watched(
    mirror: Callable[..., Mirror], tmp_path: Path
) -> None:
    """As after ``mv inbox done && mkdir inbox``, at once and whatever the name before."""
    root = tmp_path / "root"
    for name in ("inbox", "other"):
        (root / name).mkdir(parents=True)
    m = mirror(root)
    (root / "inbox").rename(tmp_path / "done")
    (root / "inbox").mkdir()
    m.wait_until_true()
    (root / "inbox").rename(tmp_path / "done again")
    (root / "other").rename(root / "inbox")
    m.wait_until_true()
    assert FileEvent(Kind.MOVED, os.fsencode(root / "inbox"), os.fsencode(root / "other")) in m.given
    assert 2 == m.status()["watched_dirs"]
    (root / "inbox" / "a.jpg").write_bytes(b"picture")
    wait_for(lambda: os.fsencode(root / "inbox" / "a.jpg") in m.given_files())

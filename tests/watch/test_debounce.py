from __future__ import annotations

import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from patience import PATIENCE_S, wait_for

from shazimd.posix.mounts import is_at_or_below
from shazimd.types import Stat
from shazimd.watch.debounce import AWAY_S, BUSY_MAX_S, Debouncer
from shazimd.watch.events import FileEvent, Kind, Stage
from shazimd.watch.writers import STILL_MAX_S

ROOT = b"/r"


class World:
    """A debouncer with a clock and a disk that the test moves."""

    def __init__(self, pending_max: int = 1000) -> None:
        self.now = 0.0
        self.disk: dict[bytes, Stat] = {}
        self.open: set[bytes] = set()
        """files that a process has open for writing"""
        self.debouncer = Debouncer(
            {ROOT: 1.0, b"/r/slow": 5.0},
            pending_max=pending_max,
            clock=lambda: self.now,
            stat=self.disk.get,
            open_for_writing=lambda paths: self.open & set(paths),
        )

    def put(self, path: bytes, stage: Stage) -> None:
        self.debouncer.put(FileEvent(Kind.FILE, path, stage=stage))

    def take(self) -> list[FileEvent]:
        return self.debouncer.take(timeout=0)

    def at(self, now: float) -> list[bytes]:
        self.now = now
        return [event.path for event in self.take()]


def test_a_closed_file_is_given_after_its_quiet_time() -> None:
    """Not before, and once."""
    world = World()
    world.put(b"/r/a", Stage.CLOSED)
    assert [[], [b"/r/a"], []] == [world.at(0.9), world.at(1.0), world.at(9)]


def test_each_root_has_its_own_quiet_time() -> None:
    """The innermost root counts."""
    world = World()
    world.put(b"/r/slow/a", Stage.CLOSED)
    world.put(b"/r/slowly", Stage.CLOSED)
    assert [[b"/r/slowly"], [b"/r/slow/a"]] == [world.at(1), world.at(5)]


def test_an_event_may_have_a_longer_delay_of_its_own() -> None:
    """A file is to be tried again later."""
    world = World()
    world.debouncer.put(FileEvent(Kind.FILE, b"/r/a", stage=Stage.CLOSED), after_s=3)
    assert [[], [b"/r/a"]] == [world.at(2.9), world.at(3)]


def test_a_waiting_take_can_be_woken() -> None:
    """It gives nothing, once; the next one waits again."""
    debouncer = Debouncer({ROOT: 0.0})
    debouncer.wake()
    assert [] == debouncer.take()
    debouncer.put(FileEvent(Kind.FILE, b"/r/a", stage=Stage.CLOSED))
    assert [b"/r/a"] == [event.path for event in debouncer.take(timeout=PATIENCE_S)]


def test_more_events_mean_more_quiet() -> None:
    """A file that is written again rests later; many events give one look."""
    world = World()
    world.put(b"/r/a", Stage.CLOSED)
    world.now = 0.5
    world.put(b"/r/a", Stage.CLOSED)
    assert [[], [b"/r/a"]] == [world.at(1.2), world.at(1.5)]


def test_a_file_that_is_never_closed_rests_when_its_stat_does() -> None:
    """Written through a map or by a sender that pauses: no event says so, the stat does."""
    world = World()
    world.disk[b"/r/a"] = Stat(1, 1, 1)
    world.put(b"/r/a", Stage.OPEN)
    assert [] == world.at(1)
    world.disk[b"/r/a"] = Stat(2, 1, 1)
    assert [[], [b"/r/a"]] == [world.at(2), world.at(3)]


def test_a_file_written_after_it_was_closed_is_open_again() -> None:
    """CLOSED holds until the next write."""
    world = World()
    world.disk[b"/r/a"] = Stat(1, 1, 1)
    world.put(b"/r/a", Stage.CLOSED)
    world.put(b"/r/a", Stage.OPEN)
    assert [[], [b"/r/a"]] == [world.at(1), world.at(2)]


def test_an_open_file_that_vanished_is_given() -> None:
    """Whoever looks finds it gone."""
    world = World()
    world.put(b"/r/a", Stage.OPEN)
    assert [b"/r/a"] == world.at(1)


def written_in_pieces(world: World, path: bytes, pieces: int, pause: float) -> list[bytes]:
    """The files given while a sender writes and pauses, and keeps the file open."""
    given = []
    for number in range(pieces):
        world.disk[path] = Stat(number, number, 1)
        world.put(path, Stage.WRITING)
        for _ in range(10):
            given += world.at(world.now + pause / 10)
    return given


def test_a_slow_sender_is_waited_for() -> None:
    """Its file is given once, when it is closed, though it pauses longer than the quiet time."""
    world = World()
    assert [] == written_in_pieces(world, b"/r/a", 8, pause=1.8)
    world.put(b"/r/a", Stage.CLOSED)
    assert [b"/r/a"] == world.at(world.now + 1)


def test_the_time_to_stand_still_grows_with_the_pauses() -> None:
    """A sender that pauses for long is taken for done once, and then no more."""
    world = World()
    assert [b"/r/a"] == written_in_pieces(world, b"/r/a", 8, pause=4)
    assert [b"/r/a"] == world.at(world.now + 60) + world.at(world.now + 2)


def test_a_file_that_a_process_has_open_for_writing_is_waited_for_longer() -> None:
    """It may be held open for ever, so the wait ends when it stands still. After a close the memory is gone."""
    world = World()
    world.open.add(b"/r/a")
    assert [] == written_in_pieces(world, b"/r/a", 4, pause=9)
    assert [b"/r/a"] == world.at(world.now + 60) + world.at(world.now + 2)
    world.put(b"/r/a", Stage.WRITING)
    world.put(b"/r/a", Stage.CLOSED)
    world.open.clear()
    world.put(b"/r/a", Stage.WRITING)
    start = world.now
    assert [[], [b"/r/a"]] == [world.at(start + 2), world.at(start + 3)]


def test_a_change_of_mode_does_not_make_a_written_file_complete() -> None:
    """It tells nothing about the writer."""
    world = World()
    world.disk[b"/r/a"] = Stat(1, 1, 1)
    world.put(b"/r/a", Stage.WRITING)
    world.put(b"/r/a", Stage.OPEN)
    assert [[], [b"/r/a"]] == [world.at(2), world.at(3)]


@pytest.mark.parametrize("writing", [Stage.OPEN, Stage.WRITING])
def test_a_file_that_never_rests_is_heard_after_a_maximum(writing: Stage) -> None:
    """A camera that writes the same name ten times a second."""
    world = World()
    given = []
    for tick in range(int(BUSY_MAX_S * 10) + 5):
        world.now = tick / 10
        world.put(b"/r/a", writing)
        world.put(b"/r/a", Stage.CLOSED)
        given += world.take()
    assert 1 == len(given)


def test_what_is_gone_or_moved_or_a_tree_is_given_at_once_in_order() -> None:
    """Moves keep their number and order; what is said twice is given at its last place."""
    world = World()
    a_to_b, b_to_a = FileEvent(Kind.MOVED, b"/r/b", b"/r/a"), FileEvent(Kind.MOVED, b"/r/a", b"/r/b")
    gone, tree = FileEvent(Kind.FILE, b"/r/b", stage=Stage.GONE), FileEvent(Kind.TREE, b"/r/t")
    for event in (tree, gone, a_to_b, tree, b_to_a, a_to_b, gone):
        world.debouncer.put(event)
    assert [a_to_b, tree, b_to_a, a_to_b, gone] == world.take()


def test_a_deleted_file_waits_no_more() -> None:
    """Written then deleted: one look."""
    world = World()
    world.put(b"/r/a", Stage.CLOSED)
    world.put(b"/r/a", Stage.GONE)
    assert [[b"/r/a"], []] == [world.at(0), world.at(9)]
    world.put(b"/r/a", Stage.CLOSED)
    assert [[], [b"/r/a"]] == [world.at(9.5), world.at(10)]


def test_what_was_moved_away_is_gone_only_after_it_could_be_found_elsewhere() -> None:
    """A file found in a directory that was just made settles first; what comes back is no longer gone."""
    world = World()
    world.put(b"/r/a", Stage.AWAY)
    world.put(b"/r/b", Stage.AWAY)
    world.now = 0.5
    world.put(b"/r/b", Stage.CLOSED)
    world.now = 1.9 + AWAY_S
    assert [FileEvent(Kind.FILE, b"/r/b", stage=Stage.CLOSED)] == world.take()
    world.now = 2.0 + AWAY_S
    assert [FileEvent(Kind.FILE, b"/r/a", stage=Stage.GONE)] == world.take()


def test_the_fullest_directories_give_way_to_trees() -> None:
    """Too many paths: one TREE for a full directory, the others wait on."""
    world = World(pending_max=10)
    world.put(b"/r/b/1", Stage.CLOSED)
    for i in range(10):
        world.put(b"/r/a/%d" % i, Stage.CLOSED)
    assert [FileEvent(Kind.TREE, b"/r/a")] == world.take()
    assert [b"/r/b/1"] == world.at(1)


def test_scattered_paths_give_way_to_the_roots() -> None:
    """Where no directory is full, or too many moves wait, the roots are told."""
    world = World(pending_max=10)
    for i in range(11):
        world.put(b"/r/%d/a" % i, Stage.CLOSED)
    assert {b"/r", b"/r/slow"} == {event.path for event in world.take()}
    for i in range(11):
        world.debouncer.put(FileEvent(Kind.MOVED, b"/r/%d" % i, b"/r/x"))
    assert {b"/r", b"/r/slow"} == {event.path for event in world.take()}


paths = st.builds(lambda d, n: b"/r/%d/%d" % (d, n), st.integers(0, 4), st.integers(0, 9))
events = st.lists(st.tuples(paths, st.sampled_from(Stage), st.floats(0, 2)), max_size=60)


SLOW_WRITER = [(b"/r/1/0", Stage.WRITING, 0.0), *[(b"/r/0/0", Stage.OPEN, 1.5)] * 6, (b"/r/1/0", Stage.WRITING, 0.0)]


@example(events=SLOW_WRITER, pending_max=2)
@given(events=events, pending_max=st.integers(2, 20))
def test_every_path_is_covered_after_its_last_mention(
    events: list[tuple[bytes, Stage, float]], pending_max: int
) -> None:
    """Whatever comes in what order: memory stays bounded, and after the last word on a path it is looked at."""
    world = World(pending_max=pending_max)
    last: dict[bytes, int] = {}
    looks: list[tuple[int, bytes]] = []
    for number, (path, stage, pause) in enumerate(events):
        world.now += pause
        world.disk[path] = Stat(number, number, 1)
        last[path] = number
        world.put(path, stage)
        assert len(world.debouncer) <= pending_max + 1
        if number % 3 == 0:
            looks += [(number, event.path) for event in world.take()]
    for later in range(4 + int(STILL_MAX_S) // 10):  # a slow writer is waited for
        world.now += 10
        looks += [(len(events) + later, event.path) for event in world.take()]
    for path, number in last.items():
        assert any(at >= number and is_at_or_below(path, looked) for at, looked in looks)
    assert 0 == len(world.debouncer)


def test_take_sleeps_until_something_is_put() -> None:
    """A real clock and a real thread: no timeout, nobody polls."""
    debouncer = Debouncer({ROOT: 0.01})
    taken: list[FileEvent] = []

    def follow() -> None:
        while events := debouncer.take():
            taken.extend(events)

    thread = threading.Thread(target=follow)
    thread.start()
    debouncer.put(FileEvent(Kind.FILE, b"/r/a", stage=Stage.CLOSED))
    wait_for(lambda: taken)
    debouncer.close()
    thread.join()
    assert [b"/r/a"] == [event.path for event in taken]
    assert [] == debouncer.take()


def test_take_gives_up_when_its_time_is_up() -> None:
    """Empty, though something waits."""
    debouncer = Debouncer({ROOT: 60})
    debouncer.put(FileEvent(Kind.FILE, b"/r/a", stage=Stage.CLOSED))
    assert [] == debouncer.take(timeout=0.01)
    assert 1 == len(debouncer)

"""A link's works are done again while they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable

from structlog.testing import capture_logs

from shazimd.cluster.link import keep
from shazimd.errors import ClusterError


class CountedStop(threading.Event):
    """Notes the pauses instead of waiting, and is set after some."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.pauses: list[float | None] = []
        self._after = after

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        if len(self.pauses) == self._after:
            self.set()
        return self.is_set()


def kept(attempts: list[Callable[[Callable[[], None]], None]]) -> tuple[list[float | None], list[tuple[str, str]]]:
    """The pauses between the attempts, and the events with their reasons."""
    stop = CountedStop(len(attempts))
    ways = iter(attempts)
    with capture_logs() as logs:
        keep(lambda _is_stopped, working: next(ways)(working), stop, "tell")
    return stop.pauses, [(each["event"], each.get("reason", "")) for each in logs]


def fails(reason: str) -> Callable[[Callable[[], None]], None]:
    def attempt(_working: Callable[[], None]) -> None:
        raise ClusterError(reason)

    return attempt


def works_then_fails(working: Callable[[], None]) -> None:
    working()
    raise ClusterError("away")


def test_pauses_grow_to_a_minute_and_a_fault_is_said_once() -> None:
    """Another fault is said, too."""
    pauses, said = kept([fails("away")] * 8 + [fails("full")])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert said == [("cluster_waits", "away"), ("cluster_waits", "full")]


def test_pauses_are_short_again_after_success() -> None:
    """And the end of a fault is said."""
    pauses, said = kept([fails("away"), fails("away"), works_then_fails, fails("away")])
    assert pauses == [1, 2, 1, 2]
    assert said == [("cluster_waits", "away"), ("cluster_works_again", ""), ("cluster_waits", "away")]


def test_a_fault_of_our_own_is_logged_with_its_place() -> None:
    """And the work is tried again like any other."""

    def breaks(_working: Callable[[], None]) -> None:
        raise KeyError("x")

    pauses, said = kept([breaks, breaks])
    assert (pauses, said) == ([1, 2], [("link_failed", ""), ("link_failed", "")])

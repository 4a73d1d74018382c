"""The turns of a link that follows: changes of other hosts first, then decisions, for a while."""

from __future__ import annotations

from typing import Any, cast

import pytest

from shazimd.cluster import follow
from shazimd.cluster.base import Cluster, FilesPage
from shazimd.cluster.daemon import LinkClient
from shazimd.errors import InternalError


class Hosts:
    """A daemon with undecided files, and a database without changes; each decision takes a second of its clock."""

    def __init__(self, undecided: int, fails: int | None = None) -> None:
        """``fails``: the decision on this file does."""
        self._fails = fails
        self.did: list[str] = []
        self.noted: list[tuple[str, str, float]] = []
        self.now = 0.0
        self._undecided = [
            {"id": n, "path": f"/{n}.jpg", "content": "00" * 32, "gone": False} for n in range(undecided)
        ]

    def foreign(self) -> dict[str, Any]:
        return {"hosts": [{"host": "nas", "position": "1.00"}], "undecided": self._undecided[:100]}

    def landed(self, files: list[Any]) -> list[int]:
        return [1] * len(files)

    def others(self) -> list[str]:
        return ["nas"]

    def changes(self, _host: str, position: str) -> FilesPage:
        self.did.append("look")
        return FilesPage([], [], position, is_last=True)

    def follows(self, host: str, position: str) -> None:
        self.noted.append((host, position, self.now))

    def link_is_behind(self, _changes: int) -> None:
        """Told to a daemon."""

    def decide_foreign(self, number: int, _order: int, _content: str) -> None:
        self.did.append(f"decide {number}")
        self.now += 1.0
        if number == self._fails:
            raise InternalError("the decision failed")
        self._undecided = [each for each in self._undecided if each["id"] != number]

    def wait(self, _timeout_s: float) -> None:
        self.did.append("wait")

    def close(self) -> None:
        self.did.append("close")

    def monotonic(self) -> float:
        return self.now


def test_other_hosts_wait_for_few_decisions() -> None:
    """Between decisions that take long, changes are looked for; nothing is waited for while files are undecided."""
    hosts = Hosts(undecided=3)
    follower = follow.Follower(lambda: cast(Cluster, hosts), cast(LinkClient, hosts), ["*"], hosts.monotonic)
    follower.run(lambda: "wait" in hosts.did, lambda: None)
    looked = ["look", "decide 0", "look", "decide 1", "look", "decide 2"]
    assert hosts.did == [*looked, "wait", "close"]


def test_more_files_than_are_listed_are_decided_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(undecided=101)
    monkeypatch.setattr(follow, "DECIDE_S", 1000.0)
    follower = follow.Follower(lambda: cast(Cluster, hosts), cast(LinkClient, hosts), ["*"], hosts.monotonic)
    follower.run(lambda: "wait" in hosts.did, lambda: None)
    assert [did for did in hosts.did if not did.startswith("decide")] == ["look", "look", "wait", "close"]
    assert "decide 100" in hosts.did


@pytest.mark.parametrize("decide_s", [follow.DECIDE_S, 1000.0])
def test_a_decision_that_fails_keeps_no_other_waiting(decide_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others come first from then on, also those that had no turn in its pass; it is tried again after them."""
    hosts = Hosts(undecided=3, fails=0)
    monkeypatch.setattr(follow, "DECIDE_S", decide_s)
    follower = follow.Follower(lambda: cast(Cluster, hosts), cast(LinkClient, hosts), ["*"], hosts.monotonic)
    for _ in range(2):
        with pytest.raises(InternalError, match="the decision failed"):
            follower.run(lambda: False, lambda: None)
    assert [did for did in hosts.did if did.startswith("decide")] == [f"decide {n}" for n in (0, 1, 2, 0)]


def test_the_position_in_a_host_without_changes_is_noted_every_hour() -> None:
    """A day after the last note the host would trim its next change before this follower has read it."""
    hosts = Hosts(undecided=0)
    follower = follow.Follower(lambda: cast(Cluster, hosts), cast(LinkClient, hosts), ["*"], hosts.monotonic)
    for hosts.now in (0.0, 1800.0, 3601.0, 3602.0, 7202.0):
        hosts.did.clear()
        follower.run(lambda: "wait" in hosts.did, lambda: None)
    assert hosts.noted == [("nas", "1.00", now) for now in (0.0, 3601.0, 7202.0)]

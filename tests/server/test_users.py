"""The users at the other end of the socket: their rights, and their shares."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_service import FakeService, serving
from patience import PATIENCE_S, wait_for
from raw_http import ask, connect, error

from shazimd.errors import ConfigError, Unavailable
from shazimd.server import guard, users
from shazimd.server.app import ALL_VERBS
from shazimd.server.cluster_verbs import CLUSTER_VERBS
from shazimd.server.users import Admins, Pace, Peer, Shares, Turns, peer_of
from shazimd.server.verbs import VERBS

NOBODY = 65534
STRANGER = Peer(NOBODY, frozenset([NOBODY]))


def as_user(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    """Let all further connections be of this user."""
    monkeypatch.setattr(guard, "peer_of", lambda _connection: peer)


def test_the_kernel_names_the_peer() -> None:
    """User and groups are those of the process at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))


@pytest.mark.parametrize(
    ("names", "peer", "admitted"),
    [
        ([], Peer(0, frozenset([0])), True),
        ([], Peer(os.geteuid(), frozenset()), True),
        ([], STRANGER, False),
        (["nobody"], STRANGER, True),
        ([f"@{grp.getgrgid(os.getegid()).gr_name}"], STRANGER, False),
        ([f"@{grp.getgrgid(os.getegid()).gr_name}"], Peer(NOBODY, frozenset([7, os.getegid()])), True),
    ],
)
def test_admins_are_named_or_of_a_named_group(names: list[str], peer: Peer, admitted: bool) -> None:
    """Root and the daemon's own user always are; a name adds a user, @ and a name the members of a group."""
    assert Admins(names).include(peer) is admitted


@pytest.mark.parametrize("name", ["no-such-user-here", "@no-such-group-here", "@"])
def test_an_unknown_admin_is_a_fault_of_the_configuration(name: str) -> None:
    """The error names the value."""
    with pytest.raises(ConfigError, match=f'server.admins has "{name}", expected'):
        Admins([name])


def test_changing_is_for_admins_and_asking_for_all(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger gets a 403 for each verb that changes something, and the service is not asked."""
    as_user(monkeypatch, STRANGER)
    assert all(verb.admin for verb in CLUSTER_VERBS)
    refused = {verb.name for verb in VERBS if verb.admin}
    assert refused == {
        "rescan",
        "forget",
        "reload",
        "compact",
        "install_model",
        "decide",
        "undo",
        "retry_failed",
        "unignore",
    }
    for verb in ALL_VERBS:
        if verb.admin:
            status, reply = ask(path, verb.method, f"{verb.path}?handle=x&path=/srv/p")
            assert (status, reply["error"]["code"]) == (403, "forbidden")
            assert f"user {NOBODY} may only ask" in reply["error"]["message"]
    assert service.asked == []
    assert ask(path, "POST", "/v1/find", b"image")[0] == 200
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_a_configured_admin_may_change(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of the list does what the daemon's own user does."""
    as_user(monkeypatch, STRANGER)
    with serving(service, tmp_path, admins=Admins(["nobody"])) as path:
        assert ask(path, "POST", "/v1/compact")[0] == 200


ASK_AS_NOBODY = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(f"{sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(connection.makefile().read())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_of_this_machine(service: FakeService) -> None:
    """A process of another user may read the status, and forget nothing."""
    with tempfile.TemporaryDirectory(prefix="sz-") as folder, serving(service, Path(folder)) as path:
        os.chmod(folder, 0o755)
        os.chmod(path, 0o666)

        def ask_as_nobody(request: str) -> str:
            words = [sys.executable, "-c", ASK_AS_NOBODY, path, request]
            return subprocess.run(words, text=True, stdout=subprocess.PIPE, check=True).stdout

        assert ask_as_nobody("GET /v1/status").startswith("HTTP/1.1 200")
        assert ask_as_nobody("POST /v1/forget?path=/srv/p").startswith("HTTP/1.1 403")
    assert service.asked == []


# ---- shares


def test_a_user_with_too_many_connections_loses_their_own(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a user's share the user's idlest connection makes room, and those of another user stay."""
    monkeypatch.setattr(guard, "CONNECTIONS_OF_A_USER_MAX", 2)
    as_user(monkeypatch, STRANGER)
    with connect(path) as other:
        ask(path, "GET", "/v1/status")
        as_user(monkeypatch, Peer(1, frozenset()))
        with connect(path) as first, connect(path) as second, connect(path) as third:
            assert b" 503 " in first.recv(65536)
            for kept in (other, second, third):
                kept.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 200 " in kept.recv(65536)


def test_the_user_with_the_most_connections_makes_room(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all connections are taken, a user with few gets one of the user with the most, older ones or not."""
    monkeypatch.setattr(guard, "CONNECTIONS_MAX", 3)
    as_user(monkeypatch, STRANGER)
    with connect(path) as of_few:
        ask(path, "GET", "/v1/status")
        as_user(monkeypatch, Peer(1, frozenset()))
        with connect(path) as of_many, connect(path):
            ask(path, "GET", "/v1/status")
            assert b" 503 " in of_many.recv(65536)
            as_user(monkeypatch, Peer(2, frozenset()))
            assert ask(path, "GET", "/v1/status")[0] == 200
            of_few.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in of_few.recv(65536)


def test_a_users_pictures_leave_room_for_others(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one user holds all the memory that a user may, another is answered."""
    service.holds = threading.Event()
    with serving(service, tmp_path, held_max_bytes=200) as path:
        as_user(monkeypatch, STRANGER)
        first = threading.Thread(target=ask, args=(path, "POST", "/v1/find", b"image".ljust(100)))
        first.start()
        assert service.working.acquire(timeout=PATIENCE_S)
        assert error(ask(path, "POST", "/v1/find", b"image")) == (503, "unavailable")
        as_user(monkeypatch, Peer(1, frozenset()))
        answers: list[Any] = []
        second = threading.Thread(target=lambda: answers.append(ask(path, "POST", "/v1/find", b"image".ljust(100))))
        second.start()
        assert service.working.acquire(timeout=PATIENCE_S)
        service.holds.set()
        for thread in (first, second):
            thread.join(PATIENCE_S)
        assert answers[0][0] == 200


def test_a_user_with_many_questions_waits_for_the_other(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The single question of another user comes before the queue of the first."""
    monkeypatch.setattr("shazimd.server.app.QUERIES_AT_ONCE", 1)  # threads beside each other take any order
    service.holds = threading.Event()
    in_line = threading.Semaphore(0)
    wait = Turns._wait

    async def told(turns: Turns, uid: int) -> None:
        in_line.release()
        await wait(turns, uid)

    monkeypatch.setattr(Turns, "_wait", told)
    with serving(service, tmp_path) as path:
        as_user(monkeypatch, STRANGER)
        asking = [threading.Thread(target=ask, args=(path, "POST", "/v1/find", b"image")) for _ in range(12)]
        for thread in asking:
            thread.start()
        for _ in asking:
            assert in_line.acquire(timeout=PATIENCE_S)
        as_user(monkeypatch, Peer(1, frozenset()))
        single = threading.Thread(target=ask, args=(path, "POST", "/v1/find", b"image single"))
        single.start()
        assert in_line.acquire(timeout=PATIENCE_S)
        service.holds.set()
        for thread in (single, *asking):
            thread.join(PATIENCE_S)
    position = [number for number, asked in enumerate(service.asked) if asked[1] != service.asked[0][1]]
    assert position == [2]  # after the one with the turn and the first in line; by order of coming it is the last of 13


def test_turns_go_from_user_to_user() -> None:
    """The waiting of one user alternate with those of another, in the order of each."""

    async def order() -> list[str]:
        turns, done = Turns(1), list[str]()

        async def work(uid: int, name: str) -> None:
            async with turns.turn(uid):
                await asyncio.sleep(0)
                done.append(name)

        await asyncio.gather(
            *(work(uid, name) for uid, name in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (2, "b2")])
        )
        async with asyncio.timeout(PATIENCE_S), turns.turn(3):  # all turns were passed on or given back
            return done

    assert asyncio.run(order()) == ["a1", "a2", "b1", "a3", "b2"]


def test_a_turn_that_is_not_wanted_any_more_is_passed_on() -> None:
    """Whoever is cancelled while waiting, or just when the turn came, takes none away."""

    async def cancelled() -> bool:
        turns = Turns(1)

        async def work() -> None:
            async with turns.turn(1):
                pass

        async with turns.turn(1):
            early, late = asyncio.create_task(work()), asyncio.create_task(work())
            await asyncio.sleep(0)
            early.cancel()
            await asyncio.sleep(0)
        late.cancel()  # its turn has come, and it has not run since
        await asyncio.gather(early, late, return_exceptions=True)
        async with asyncio.timeout(PATIENCE_S), turns.turn(2):
            return True

    assert asyncio.run(cancelled())


def test_shares_are_given_back() -> None:
    """Beyond the share of a user or of all nothing is taken."""
    shares = Shares("seats", 2, 3)
    shares.take(1, 2)
    with pytest.raises(Unavailable, match="seats: this user has as many"):
        shares.take(1, 1)
    with pytest.raises(Unavailable, match="seats: the users together"):
        shares.take(2, 2)
    shares.give(1, 2)
    shares.take(2, 2)


def test_a_pace_delays_only_the_user_who_is_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the burst each request waits its interval longer; another user waits not at all."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(users, "time", Mock(monotonic=lambda: 100.0))
    pace = Pace(per_second=0.1, burst_s=20, wait_max_s=1000)

    async def ask_often() -> None:
        for _ in range(5):
            await pace.turn(1)
        await pace.turn(2)

    asyncio.run(ask_often())
    assert slept == [10, 20]


def test_a_pace_refuses_who_would_wait_for_long() -> None:
    """The requests of those who have hung up would pile up; another user is not concerned."""
    pace = Pace(per_second=0.001, burst_s=0, wait_max_s=5)

    async def asked() -> None:
        await pace.turn(1)
        with pytest.raises(Unavailable, match="too many of this user wait"):
            await pace.turn(1)
        await pace.turn(2)

    asyncio.run(asked())


def test_the_requests_of_a_user_are_paced(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests without a picture wait their turn; one with a picture does not."""
    paced: list[int] = []

    async def turn(_pace: Pace, uid: int) -> None:
        paced.append(uid)

    monkeypatch.setattr(Pace, "turn", turn)
    as_user(monkeypatch, STRANGER)
    ask(path, "GET", "/v1/status")
    wait_for(lambda: paced == [NOBODY])
    ask(path, "POST", "/v1/find", b"image")
    assert paced == [NOBODY]

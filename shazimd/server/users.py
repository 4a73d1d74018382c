"""The users at the other end of the socket, as the kernel names them: their rights, and each one's share of the server.

Every user who can connect may ask; the mode and the group of the socket decide about that. Verbs that change something
are for root, the daemon's own user, and the configured admins.

Limits, turns and pace are a uid's: without them, one user's many requests would be served before the single request of
another.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, Protocol

from shazimd.errors import ConfigError, Unavailable

SO_PEERGROUPS = 59
"""asm-generic/socket.h, Linux 4.13; Python has no name for it"""
_GROUPS_BYTES = 1024
"""The most that ``getsockopt`` takes in Python: 256 groups."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred in unix(7): process, user, group"""


class Peer(NamedTuple):
    """A user, as of the connect: ``groups`` are the main and the supplementary ones."""

    uid: int
    groups: frozenset[int]


class PeerSocket(Protocol):
    """A connected Unix socket, or the event loop's view of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def peer_of(connection: PeerSocket) -> Peer:
    """The user at the other end of a connection. Raises OSError."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(credentials)
    try:
        groups = memoryview(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)).cast("i").tolist()
    except OSError:  # an older kernel, or more groups: the main group counts alone
        groups = []
    return Peer(uid, frozenset([gid, *groups]))


class Admins:
    """The users and groups that may change something."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """``names`` of users, and of groups after an ``@``. Raises ConfigError for an unknown name."""
        names = list(names)
        self._users = {0, os.geteuid(), *(_user(name) for name in names if not name.startswith("@"))}
        self._groups = {_group(name[1:]) for name in names if name.startswith("@")}

    def include(self, peer: Peer) -> bool:
        return peer.uid in self._users or not self._groups.isdisjoint(peer.groups)


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise ConfigError(f'server.admins has "{name}", expected a user of this system, or @ and a group') from error


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigError(f'server.admins has "@{name}", expected a group of this system after the @') from error


class Shares:
    """Counts things in use: at most ``each`` for a user, ``total`` for all users together."""

    def __init__(self, what: str, each: int, total: int) -> None:
        """``what`` names the things in errors."""
        self._what = what
        self._each = each
        self._free = total
        self._taken: Counter[int] = Counter()

    def take(self, uid: int, number: int) -> None:
        """Raises Unavailable beyond a limit, and then nothing is taken."""
        if self._taken[uid] + number > self._each:
            raise Unavailable(f"{self._what}: this user has as many as a user may have; ask again later")
        if number > self._free:
            raise Unavailable(f"{self._what}: the users together have as many as there may be; ask again later")
        self._taken[uid] += number
        self._free -= number

    def give(self, uid: int, number: int) -> None:
        self._taken[uid] -= number
        self._free += number
        if not self._taken[uid]:
            del self._taken[uid]

    @contextmanager
    def taken(self, uid: int, number: int = 1) -> Iterator[None]:
        """Take for a block."""
        self.take(uid, number)
        try:
            yield
        finally:
            self.give(uid, number)


class Turns:
    """A semaphore whose waiters get their turn user by user, and not in the order of their coming."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()
        """by user; the first user is next"""

    @asynccontextmanager
    async def turn(self, uid: int) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for a block."""
        await self._wait(uid)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, uid: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # cancelled just after it was given
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            uid, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[uid] = turns  # after all other users
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Pace:
    """Spreads a user's requests to at most ``per_second``, after a burst of as many as come in ``burst_s``.

    None waits longer than ``wait_max_s``: with one request at a time on each of the connections that a user may have,
    none has to. Those who hang up and come again would leave ever more behind."""

    def __init__(self, per_second: float, burst_s: float, wait_max_s: float) -> None:
        self._interval_s = 1 / per_second
        self._burst_s = burst_s
        self._wait_max_s = wait_max_s
        self._next: dict[int, float] = {}
        """by user: the time of the next request without a burst"""

    async def turn(self, uid: int) -> None:
        """Wait as long as the user's earlier requests are too many. Raises Unavailable rather than wait for long."""
        now = time.monotonic()
        due = max(self._next.get(uid, 0.0), now - self._burst_s)
        if due - now > self._wait_max_s:
            raise Unavailable("requests: too many of this user wait; ask again later")
        self._next[uid] = due + self._interval_s
        if due > now:
            await asyncio.sleep(due - now)

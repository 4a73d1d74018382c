"""The users at the other end of the socket, as the kernel names them, and their right to change the daemon's state.

Every user who can connect may ask; the mode and the group of the socket decide about that. Verbs that change something
are for root, the daemon's own user, and the configured admins.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from shazimd.errors import ConfigError

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

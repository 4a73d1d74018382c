"""The listening socket: replaces that of a dead daemon, never of a running one; its mode and group limit access."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from shazimd.errors import ConfigError, NotReady, ShazimdError, Unavailable
from shazimd.posix.files import try_lock
from shazimd.text import printable

PATH_BYTES_MAX = 107
"""sockaddr_un.sun_path has 108 bytes, the last is zero: unix(7)"""

_MAY_PASS = {errno.ENOENT, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}

BACKLOG = 128
SYSTEMD_FIRST_FD = 3
"""SD_LISTEN_FDS_START: sd_listen_fds(3)"""


class _BoundSocket(socket.socket):
    """A listening socket. Closing removes its path, unless another socket is bound there."""

    owned: tuple[str, tuple[int, int] | None, int] | None = None
    """path, its inode, file descriptor of the lock"""

    def close(self) -> None:
        if self.owned is not None:
            path, inode, lock = self.owned
            if inode is not None and _inode(path) == inode:
                os.unlink(path)
            os.close(lock)
            self.owned = None
        super().close()


def bind_socket(path: str, mode: int = 0o660, group: str | None = None) -> socket.socket:
    """A listening Unix socket at ``path``. Closing removes the path.

    The socket of a dead daemon is replaced. Raises ConfigError if another process listens, if the path is another kind
    of file, and if the path or the group can't be used; NotReady, which may pass, if the directory is missing and can't
    be made, or can't be written to."""
    _check_length(path)
    directory = os.path.dirname(path) or "."
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        return _bind(path, mode, _group_id(group))
    except OSError as error:
        may_pass = error.errno in _MAY_PASS or not os.path.lexists(directory)
        kind = NotReady if may_pass else ConfigError
        raise kind(f"socket {path}: can't listen there: {error.strerror or error}") from error


def _bind(path: str, mode: int, gid: int) -> socket.socket:
    # Without the lock, two daemons starting at once could each remove the socket of the other.
    lock = _lock(path)
    bound = _BoundSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.owned = (path, None, lock)
    try:
        _remove_left_over(path)
        bound.bind(path)
        bound.owned = (path, _inode(path), lock)
        # connect() fails before listen(): there is no moment with the wrong mode or group.
        os.chown(path, -1, gid)
        os.chmod(path, mode)
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def systemd_sockets() -> list[socket.socket]:
    """The listening sockets passed by systemd (sd_listen_fds(3)), if any. Closing them leaves their paths to systemd.

    Raises ConfigError for anything but a listening Unix stream socket."""
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    pid, count, _ = (os.environ.pop(name, "") for name in names)  # popped: child processes must not see them
    if pid != str(os.getpid()):
        return []
    return [_adopt(fd) for fd in range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count or 0))]


def refuse_waiting(listeners: Iterable[socket.socket], error: ShazimdError) -> None:
    """Answer all clients that wait to be accepted with the reason for not serving them.

    The service manager would start the daemon again and again for a client that is not accepted."""
    message = printable(f"the daemon can't start: {error}")
    body = msgspec.json.encode({"error": {"code": Unavailable.code, "message": message}})
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    answer = head + b"content-length: %d\r\n\r\n" % len(body) + body
    for listener in listeners:
        listener.setblocking(False)
        for client in _accepted(listener):
            with client, suppress(OSError):
                client.setblocking(False)
                client.send(answer)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except OSError:
            return


def _adopt(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        adopted = socket.socket(fileno=fd)
        listening = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"file descriptor {fd} from systemd: {error.strerror}, expected a socket") from error
    if adopted.family != socket.AF_UNIX or adopted.type != socket.SOCK_STREAM or not listening:
        raise ConfigError(f"file descriptor {fd} from systemd: expected ListenStream= with a path, found {adopted}")
    return adopted


def _lock(path: str) -> int:
    """A lock held as long as the socket or the process. Mode 0600, or other users could hold the lock."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not try_lock(lock):
        os.close(lock)
        raise _served(path)
    return lock


def _remove_left_over(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"socket {path}: {stat.filemode(found.st_mode)} lies there, expected a socket or nothing")
    if _answers(path):
        raise _served(path)
    os.unlink(path)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result in (0, errno.EAGAIN):  # EAGAIN: a full backlog of a running daemon
        return True
    if result in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    raise OSError(result, os.strerror(result))


def _served(path: str) -> ConfigError:
    return ConfigError(f"socket {path}: another daemon serves it; stop that one, or choose another --socket")


def _check_length(path: str) -> None:
    if (length := len(os.fsencode(path))) > PATH_BYTES_MAX:
        raise ConfigError(f"socket {path}: the path has {length} bytes, expected at most {PATH_BYTES_MAX}")


def _group_id(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigError(f'server.group is "{group}", expected a group of this system') from error


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino

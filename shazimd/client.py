"""A small HTTP/1.1 client of the daemon's Unix socket.

It imports as little as possible: `shazimctl status` must take less than three times as long as `python3 -c pass`.
``http.client`` alone would exceed this, and so would ``socket``, because of its enumerations; ``_socket``, on which
``socket`` is built, has everything needed for a Unix socket.
"""

from __future__ import annotations

import _socket
import json
import os

from shazimd import errors
from shazimd.paths import asking_socket, service_kind
from shazimd.server import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Any

    from shazimd.protocol import (
        Alert,
        CompactReply,
        CompareReply,
        ExportedFile,
        FailedFile,
        FindReply,
        ForgetReply,
        PairLine,
        PathFields,
        ReloadReply,
    )
    from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, GroupsPage
    from shazimd.protocol.status import InstalledModel, InstallProgress, Status
    from shazimd.server.verbs import Verb

TIMEOUT_S = 120.0
"""Time limit of each read: longer than the minute for decoding a picture, and the wait for pictures before."""

LINE_BYTES_MAX = 65536
HEADERS_MAX = 100
RECEIVE_BYTES = 262144


class Client:
    """A client of the daemon at ``socket_path``. Each request has its own connection: threads may share a client.

    Every verb raises DaemonUnreachable, or the error in the daemon's reply (``errors``)."""

    def __init__(self, socket_path: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.socket_path = socket_path or asking_socket()
        self._timeout_s = timeout_s

    def ask(self, verb: Verb, body: bytes = b"", content_type: str = "", **parameters: object) -> Any:
        """The reply of any verb that answers in one piece of JSON, by the table in ``server.verbs``."""
        with _Connection(self.socket_path, self._timeout_s) as connection:
            _send(connection, verb, parameters, body, content_type)
            return json.loads(b"".join(_answer(connection)))

    def find(
        self,
        data: bytes,
        threshold: float | None = None,
        weights: Sequence[float] | None = None,
        limit: int | None = None,
    ) -> FindReply:
        """Find the known images that match the picture in these bytes, best first."""
        return self.ask(verbs.FIND, data, threshold=threshold, weights=weights, limit=limit)

    def compare(
        self, a: bytes, b: bytes, weights: Sequence[float] | None = None, names: Sequence[str] = ("a", "b")
    ) -> CompareReply:
        """Compare two pictures. An error about one of them begins with its name in ``names``."""
        content_type, body = _form(a=a, b=b)
        try:
            return self.ask(verbs.COMPARE, body, content_type, weights=weights)
        except errors.ShazimdError as error:
            part, _, reason = error.message.partition(": ")  # the daemon names the part of the form
            if part not in ("a", "b"):
                raise
            name = names["ab".index(part)]
            raise type(error)(f"{name}: {reason}") from error

    def status(self) -> Status:
        """The daemon's state and counts."""
        return self.ask(verbs.STATUS)

    def alerts(self, since: int = 0) -> Iterator[Alert]:
        """Every stored alert with id > ``since``, oldest first."""
        while page := self.ask(verbs.ALERTS, since=since)["alerts"]:
            yield from page
            since = page[-1]["id"]

    def events(self, since: int | None = None) -> Iterator[Alert]:
        """New alerts, after the stored ones with id > ``since``; ends when the daemon ends the stream.

        The first step of the iterator subscribes."""
        for line in self._lines(verbs.STREAM, since=since):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def duplicates(
        self, threshold: float | None = None, weights: Sequence[float] | None = None, limit: int | None = None
    ) -> Iterator[DuplicateGroup]:
        """The groups of duplicates, streamed."""
        return self._objects(verbs.DUPLICATES, threshold=threshold, weights=weights, limit=limit)

    def groups(
        self,
        limit: int | None = None,
        after: str | None = None,
        under: bytes | None = None,
        verdict: str | None = None,
        *,
        decided: bool = False,
        modified: tuple[float | None, float | None] = (None, None),
        group_id: str | None = None,
    ) -> GroupsPage:
        """A page of groups of duplicates, with a file below a directory, of a verdict, or modified from a time on and
        before another, in seconds since 1970; or one group by its id."""
        return self.ask(
            verbs.GROUPS,
            limit=limit,
            after=after,
            under=under,
            verdict=verdict,
            decided="true" if decided else None,
            modified_since=modified[0],
            modified_until=modified[1],
            id=group_id,
        )

    def decisions(self, after: int = 0) -> Iterator[DecisionMessage]:
        """Every decision with id > ``after``, oldest first."""
        while page := self.ask(verbs.LIST_DECISIONS, after=after)["decisions"]:
            yield from page
            after = page[-1]["id"]

    def decide(self, decisions: Sequence[object], *, accept_unknown: bool = False) -> list[int]:
        """Make decisions, all or none: objects with ``kind``, ``contents`` and, for "keep", ``keep``. Their ids."""
        body = b"".join(json.dumps(each).encode() + b"\n" for each in decisions)
        unknown = "accept" if accept_unknown else None
        return self.ask(verbs.DECIDE, body, verbs.JSON_LINES, unknown=unknown)["ids"]

    def undo(self, decision: int) -> DecisionMessage:
        """Take a decision back."""
        return self.ask(verbs.UNDO, id=decision)

    def export(self, *, vectors: bool = False) -> Iterator[ExportedFile]:
        """The fingerprints of all files, streamed."""
        return self._objects(verbs.EXPORT, vectors="true" if vectors else None)

    def failed(self) -> Iterator[FailedFile]:
        """The files that could not be read or decoded, streamed."""
        return self._objects(verbs.FAILED)

    def retry_failed(self, path: bytes | None = None) -> int:
        """Have failed files read again, all or those at or below a path; their number."""
        return self.ask(verbs.RETRY_FAILED, path=path)["retried"]

    def pairs(
        self, threshold: float | None = None, weights: Sequence[float] | None = None, after: int = 0
    ) -> Iterator[PairLine]:
        """Every pair of images at or over the threshold, and the progress; ``after`` resumes from a progress."""
        return self._objects(verbs.PAIRS, threshold=threshold, weights=weights, after=after)

    def rescan(self, path: bytes | None = None, *, deep: bool = False) -> None:
        """Request a comparison of a path, or of every root, with the disk; ``deep`` has every file read."""
        self.ask(verbs.RESCAN, path=path, deep="true" if deep else None)

    def forget(
        self, path: bytes | None = None, *, deleted: bool = False, content: str | None = None, ignore: bool = False
    ) -> ForgetReply:
        """Forget a file or a directory with its subtree, or all deleted images, or the image with this digest in
        hexadecimal. With ``ignore`` the path stays out from now on."""
        flags = {name: "true" for name, given in (("deleted", deleted), ("ignore", ignore)) if given}
        parameters: dict[str, Any] = {"path": path, "content": content, **flags}
        return self.ask(verbs.FORGET, **parameters)

    def ignored(self) -> list[PathFields]:
        """The files and directories that were forgotten and stay out."""
        return self.ask(verbs.LIST_IGNORED)["ignored"]

    def unignore(self, path: bytes) -> None:
        """Let an ignored path in again."""
        self.ask(verbs.UNIGNORE, path=path)

    def reload(self) -> ReloadReply:
        """Reload the configuration."""
        return self.ask(verbs.RELOAD)

    def compact(self) -> CompactReply:
        """Compact the store."""
        return self.ask(verbs.COMPACT)

    def metrics(self) -> bytes:
        """The metrics in the Prometheus text format."""
        with _Connection(self.socket_path, self._timeout_s) as connection:
            _send(connection, verbs.METRICS, {})
            return b"".join(_answer(connection))

    def models(self) -> list[InstalledModel]:
        """The installed models."""
        return self.ask(verbs.MODELS)["models"]

    def install_model(self, handle: str, data: bytes = b"") -> Iterator[InstallProgress]:
        """Install a model; yields each step, the model with the last. ``data`` is its flatbuffer or tar.gz, if any."""
        return self._objects(verbs.INSTALL_MODEL, data, handle=handle)

    def _objects(self, verb: Verb, body: bytes = b"", **parameters: object) -> Iterator[Any]:
        for line in self._lines(verb, body, **parameters):
            if line.strip():
                item = json.loads(line)
                if "error" in item:
                    raise _error(item)
                yield item

    def _lines(self, verb: Verb, body: bytes = b"", **parameters: object) -> Generator[bytes, None, None]:
        with _Connection(self.socket_path, self._timeout_s) as connection:
            _send(connection, verb, parameters, body)
            rest = b""
            for chunk in _answer(connection):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines


class _Connection:
    """A buffered connection. Leaving the context turns foreign exceptions into ShazimdError."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise _unreachable(path, error) from error

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._socket.close()
        if isinstance(error, TimeoutError):
            message = f"the daemon at {self._path} said nothing for {self._timeout_s:g} s"
            raise errors.DaemonUnreachable(message) from error
        if isinstance(error, OSError):
            message = f"the daemon at {self._path} closed the connection: {error.strerror or error}"
            raise errors.DaemonUnreachable(message) from error
        if isinstance(error, (ValueError, KeyError, TypeError)):
            raise errors.InternalError(f"what answers at {self._path} is no shazimd: {error}") from error

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def line(self) -> bytes:
        """The next line, with its end. Raises ValueError for a line over LINE_BYTES_MAX."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LINE_BYTES_MAX:
                raise ValueError(f"a line of the headers has more than {LINE_BYTES_MAX} bytes")
            self._receive()
        return self._take(end + 1)

    def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        return self._take(size)

    def _receive(self) -> None:
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the answer was cut short")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _send(
    connection: _Connection, verb: Verb, parameters: dict[str, object], body: bytes = b"", content_type: str = ""
) -> None:
    target = _target(verb, **parameters)
    head = f"{verb.method} {target} HTTP/1.1\r\nHost: shazimd\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    if content_type:
        head += f"Content-Type: {content_type}\r\n"
    try:
        connection.send(head.encode("ascii") + b"\r\n")
        connection.send(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all was read: the answer says why


def _answer(connection: _Connection) -> Iterator[bytes]:
    """The body of a response, in pieces. Raises the error in an error response."""
    status, headers = _head(connection)
    if headers.get("transfer-encoding") == "chunked":
        pieces = _chunks(connection)
    else:
        pieces = iter([connection.exactly(int(headers.get("content-length", "0")))])
    if status >= 400:
        raise _error(json.loads(b"".join(pieces)))
    return pieces


def _head(connection: _Connection) -> tuple[int, dict[str, str]]:
    version, _, status = connection.line().decode("latin-1").strip().partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"found {version[:40]!r}, expected HTTP/1.1")
    headers: dict[str, str] = {}
    while line := connection.line().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip().lower()
        if len(headers) > HEADERS_MAX:
            raise ValueError(f"there are more than {HEADERS_MAX} headers")
    return int(status[:3]), headers


def _chunks(connection: _Connection) -> Iterator[bytes]:
    """RFC 9112, section 7.1; there are no trailers from this daemon."""
    while size := int(connection.line(), 16):
        yield connection.exactly(size)
        connection.line()


def _form(**files: bytes) -> tuple[str, bytes]:
    """A body of multipart/form-data (RFC 7578) and its content type."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files.items()
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _target(verb: Verb, /, **parameters: object) -> str:
    assert parameters.keys() <= {parameter.name for parameter in verb.parameters}
    given = [f"{name}={_encoded(value)}" for name, value in parameters.items() if value is not None]
    return f"{verb.path}?{'&'.join(given)}" if given else verb.path


def _encoded(value: object) -> str:
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    raw = value if isinstance(value, bytes) else str(value).encode()
    return "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02X}" for b in raw)


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/,")
"""Unreserved characters (RFC 3986, section 2.3), and two more allowed in a query (section 3.4)."""


def _error(reply: Any) -> errors.ShazimdError:
    detail = reply["error"]
    kinds = [errors.ShazimdError]
    for kind in kinds:
        if kind.code == detail["code"]:
            return kind(detail["message"])
        kinds.extend(kind.__subclasses__())
    return errors.InternalError(detail["message"])


_START = {
    "system": "systemctl start shazimd",
    "user": "systemctl --user start shazimd",
    None: "shazimd DIR",
}


def _unreachable(path: str, error: OSError) -> errors.DaemonUnreachable:
    if isinstance(error, FileNotFoundError):
        why = f"the daemon is not running; start it with `{_START[service_kind()]}`"
    elif isinstance(error, ConnectionRefusedError):
        why = f"left by a daemon that died; start it with `{_START[service_kind()]}`"
    elif isinstance(error, PermissionError):
        why = f"permission denied; {_who_may(path)}"
    else:
        why = error.strerror or str(error)
    return errors.DaemonUnreachable(f"no daemon at {path}: {why}")


def _who_may(path: str) -> str:
    import grp

    try:
        gid = os.stat(path).st_gid
    except OSError:
        return f"{os.path.dirname(path)} can't be entered"
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"members of the group {group} may connect"

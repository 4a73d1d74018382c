"""The asking end: a small HTTP/1.1 client over the daemon's Unix socket.

It imports next to nothing, so that a command answers before the prompt is missed: ``http.client`` alone would take as
long to import as all the rest of ``shazimctl status`` takes to run.
"""

from __future__ import annotations

import json
import os
import socket

from shazimd import errors
from shazimd.paths import asking_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader
    from typing import Any

    from shazimd.protocol import Alert, CompareReply, FindReply, Group, InstallProgress, Model, Status

TIMEOUT_S = 120.0
"""The longest silence of the daemon: more than the minute that one picture may take it, with others before it."""

HEAD_BYTES_MAX = 65536
CHUNK_BYTES = 65536


class Client:
    """Asks the daemon at ``socket_path``. Each question has a connection of its own, so threads may share a client.

    Every verb raises DaemonUnreachable, or the error that the daemon answered with (``errors``)."""

    def __init__(self, socket_path: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.socket_path = socket_path or asking_socket()
        self._timeout_s = timeout_s

    def find(
        self,
        data: bytes,
        threshold: float | None = None,
        weights: Sequence[float] | None = None,
        limit: int | None = None,
    ) -> FindReply:
        """What the picture in these bytes matches, best first."""
        target = _target("/v1/find", threshold=threshold, weights=weights, limit=limit)
        reply: FindReply = self._json("POST", target, data)
        return reply

    def compare(self, a: bytes, b: bytes, weights: Sequence[float] | None = None) -> CompareReply:
        """What two pictures are to each other."""
        content_type, body = _form(a=a, b=b)
        reply: CompareReply = self._json("POST", _target("/v1/compare", weights=weights), body, content_type)
        return reply

    def status(self) -> Status:
        """How the daemon is."""
        reply: Status = self._json("GET", "/v1/status")
        return reply

    def alerts(self, since: int = 0) -> Iterator[Alert]:
        """Every stored alert with id > ``since``, oldest first."""
        while page := self._json("GET", _target("/v1/alerts", since=since))["alerts"]:
            yield from page
            since = page[-1]["id"]

    def events(self, since: int | None = None) -> Iterator[Alert]:
        """Alerts as they come, after those with id > ``since`` that were missed; ends when the daemon ends it.

        The first step of the iterator subscribes."""
        for line in self._lines("GET", _target("/v1/events", since=since)):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def duplicates(
        self, threshold: float | None = None, weights: Sequence[float] | None = None, limit: int | None = None
    ) -> Iterator[Group]:
        """The groups of duplicates, as the daemon makes them."""
        return self._objects("GET", _target("/v1/duplicates", threshold=threshold, weights=weights, limit=limit))

    def rescan(self, path: bytes | None = None) -> None:
        """Have a path, or every root, compared with the disk soon."""
        self._json("POST", _target("/v1/rescan", path=path))

    def forget(self, path: bytes) -> int:
        """Forget a file, or a directory with all below it; how many image files were forgotten."""
        forgotten: int = self._json("POST", _target("/v1/forget", path=path))["forgotten"]
        return forgotten

    def models(self) -> list[Model]:
        """The installed models."""
        models: list[Model] = self._json("GET", "/v1/models")["models"]
        return models

    def install_model(self, handle: str) -> Iterator[InstallProgress]:
        """Install a model, step by step; the last step has it."""
        return self._objects("POST", _target("/v1/models", handle=handle))

    def _json(self, method: str, target: str, body: bytes = b"", content_type: str = "") -> Any:
        with self._connect() as connection, connection.makefile("rb") as reader, self._door():
            _send(connection, method, target, body, content_type)
            return json.loads(b"".join(_answer(reader)))

    def _objects(self, method: str, target: str) -> Iterator[Any]:
        for line in self._lines(method, target):
            if line.strip():
                item = json.loads(line)
                if "error" in item:
                    raise _error(item)
                yield item

    def _lines(self, method: str, target: str) -> Iterator[bytes]:
        with self._connect() as connection, connection.makefile("rb") as reader, self._door():
            _send(connection, method, target, b"", "")
            rest = b""
            for chunk in _answer(reader):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(self.socket_path)
        except OSError as error:
            connection.close()
            raise _unreachable(self.socket_path, error) from error
        return connection

    def _door(self) -> _Door:
        return _Door(self.socket_path, self._timeout_s)


class _Door:
    """The door at which what the socket and the JSON decoder raise becomes ours."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, TimeoutError):
            message = f"the daemon at {self._path} said nothing for {self._timeout_s:g} s"
            raise errors.DaemonUnreachable(message) from error
        if isinstance(error, OSError):
            message = f"the daemon at {self._path} closed the connection: {error.strerror or error}"
            raise errors.DaemonUnreachable(message) from error
        if isinstance(error, (ValueError, KeyError, TypeError)):
            raise errors.InternalError(f"what answers at {self._path} is no shazimd: {error}") from error


def _send(connection: socket.socket, method: str, target: str, body: bytes, content_type: str) -> None:
    head = f"{method} {target} HTTP/1.1\r\nHost: shazimd\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    if content_type:
        head += f"Content-Type: {content_type}\r\n"
    try:
        connection.sendall(head.encode("ascii") + b"\r\n")
        connection.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all was read: the answer says why


def _answer(reader: BufferedReader) -> Iterator[bytes]:
    """The body of an answer, in pieces. Raises what the daemon answered with, if that is an error."""
    status, headers = _head(reader)
    pieces = _chunks(reader) if headers.get("transfer-encoding") == "chunked" else _sized(reader, headers)
    if status >= 400:
        raise _error(json.loads(b"".join(pieces)))
    return pieces


def _head(reader: BufferedReader) -> tuple[int, dict[str, str]]:
    lines = []
    size = 0
    while (line := reader.readline(HEAD_BYTES_MAX)).strip():
        lines.append(line.decode("latin-1").rstrip("\r\n"))
        if (size := size + len(line)) > HEAD_BYTES_MAX:
            raise ValueError(f"the headers have more than {HEAD_BYTES_MAX} bytes")
    if not lines:
        raise ConnectionResetError("no answer came")
    version, _, status = lines[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"found {lines[0][:40]!r}, expected HTTP/1.1")
    headers = {name.lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(status[:3]), headers


def _sized(reader: BufferedReader, headers: dict[str, str]) -> Iterator[bytes]:
    return iter([_exactly(reader, int(headers.get("content-length", "0")))])


def _chunks(reader: BufferedReader) -> Iterator[bytes]:
    """RFC 9112, section 7.1; there are no trailers from this daemon."""
    while size := int(reader.readline(CHUNK_BYTES) or b"-1", 16):
        if size < 0:
            raise ConnectionResetError("the answer was cut short")
        yield _exactly(reader, size)
        reader.readline(CHUNK_BYTES)


def _exactly(reader: BufferedReader, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise ConnectionResetError("the answer was cut short")
    return data


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


def _target(endpoint: str, /, **parameters: object) -> str:
    given = [f"{name}={_encoded(value)}" for name, value in parameters.items() if value is not None]
    return f"{endpoint}?{'&'.join(given)}" if given else endpoint


def _encoded(value: object) -> str:
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    raw = value if isinstance(value, bytes) else str(value).encode()
    return "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02X}" for b in raw)


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/,")
"""RFC 3986, section 2.3, and what a query may have as it is"""


def _error(reply: Any) -> errors.ShazimdError:
    detail = reply["error"]
    kinds = [errors.ShazimdError]
    for kind in kinds:
        if kind.code == detail["code"]:
            return kind(detail["message"])
        kinds.extend(kind.__subclasses__())
    return errors.InternalError(detail["message"])


def _unreachable(path: str, error: OSError) -> errors.DaemonUnreachable:
    if isinstance(error, FileNotFoundError):
        why = "the daemon is not running; start it with `shazimd DIR` or `systemctl start shazimd`"
    elif isinstance(error, ConnectionRefusedError):
        why = "left by a daemon that died; start it with `shazimd DIR` or `systemctl start shazimd`"
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

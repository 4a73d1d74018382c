"""Files of another host on their way to this host's daemon: the next part is fetched while the last is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import msgspec

from shazimd.cluster.base import Cluster, Content, FilesPage, SharedFile
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.publish import batches

PART = 250
"""Files in a request to the daemon, some 3 MB: a single transaction, between which other writes have their turn."""


class _Part(NamedTuple):
    files: Sequence[SharedFile]
    gone: Sequence[bytes]
    position: str | None


class Delivery:
    """Within its context parts are put. At its end all are durable, or an error is raised."""

    def __init__(self, cluster: Cluster, daemon: LinkClient, host: str, at_once: int = 1) -> None:
        """``at_once``: parts that are written at a time; more than one if their order does not matter."""
        self._cluster = cluster
        self._daemon = daemon
        self._host = host
        self._at_once = at_once
        self._writing: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._at_once, "deliver")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._failed |= kind is not None
        with self._pool:
            while self._writing and not self._failed:
                self._writing.popleft().result()

    def put(self, page: FilesPage, position: str | None) -> None:
        """Have the daemon write a page; ``position`` goes with its last files. Raises ShazimdError, also of an earlier
        page."""
        some = [*batches(page.files, PART)] or [[]]
        for files in some[:-1]:
            self._put(_Part(files, [], None))
        self._put(_Part(some[-1], page.gone, position))

    def _put(self, part: _Part) -> None:
        contents: list[Content] = []
        if part.files:
            contents = self._fetched(self._daemon.missing_contents(self._host, _packed(part._replace(gone=[]), [])))
        self._writing.append(self._pool.submit(self._write, part, contents))
        while len(self._writing) > self._at_once:
            self._writing.popleft().result()

    def _write(self, part: _Part, contents: list[Content]) -> None:
        """Nothing is written after a failure: a later position must not pass over lost files."""
        if self._failed:
            return
        try:
            missing = self._send(part, contents, complete=False)
            if missing:  # since the daemon was asked
                self._send(part, [*contents, *self._fetched(missing)], complete=True)
        except BaseException:
            self._failed = True
            raise

    def _send(self, part: _Part, contents: list[Content], *, complete: bool) -> list[str]:
        """The digests of contents that are missing."""
        batch = _packed(part, contents)
        return self._daemon.put_foreign(self._host, batch, part.position, complete=complete)["missing"]

    def _fetched(self, digests: Sequence[str]) -> list[Content]:
        return self._cluster.contents(self._host, [bytes.fromhex(each) for each in digests]) if digests else []


def _packed(part: _Part, contents: Sequence[Content]) -> bytes:
    """The body for the daemon."""
    batch = {"put": [_file(each) for each in part.files], "remove": [_path(each) for each in part.gone]}
    return msgspec.msgpack.encode({**batch, "contents": contents})


def _file(file: SharedFile) -> dict[str, Any]:
    values = file._asdict() | {"content": file.digest.hex(), **_path(file.path)}
    del values["digest"]
    return values


def _path(path: bytes) -> dict[str, Any]:
    return {"path": "", "path_b64": path}

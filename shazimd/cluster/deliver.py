"""Files of another host on their way to this host's daemon: while a part is written, the contents of the next are
fetched, and the files of the next but one are read.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import msgspec

from shazimd.cluster.base import Cluster, Content, FilesPage, SharedFile
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.publish import batches

PART = 250
"""Files in a request to the daemon, some 3 MB: a single transaction, between which other writes have their turn."""


class _Part(NamedTuple):
    files: Sequence[dict[str, Any]]
    gone: Sequence[dict[str, Any]]
    position: str | None


class Delivery:
    """Within its context parts are put. At its end all are durable, or an error is raised."""

    def __init__(self, cluster: Cluster, daemon: LinkClient, host: str, at_once: int = 1) -> None:
        """``at_once``: parts that are written at a time; more than one if their order does not matter."""
        self._cluster = cluster
        self._daemon = daemon
        self._host = host
        self._at_once = at_once
        self._parts: queue.Queue[_Part | None] = queue.Queue(1)
        self._fetched_parts: queue.Queue[tuple[_Part, list[Content]] | None] = queue.Queue(1)
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        """nothing is written after it: a later position must not pass over lost files"""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._error = self._error or error
        if self._threads:
            self._parts.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, page: FilesPage, position: str | None) -> None:
        """Have the daemon write a page; ``position`` goes with its last files. Raises ShazimdError, also of an earlier
        page."""
        some = [*batches(page.files, PART)] or [[]]
        for files in some[:-1]:
            self._put(files, [], None)
        self._put(some[-1], page.gone, position)

    def _put(self, files: Sequence[SharedFile], gone: Sequence[bytes], position: str | None) -> None:
        if self._error is not None:
            raise self._error
        if not self._threads:
            targets = [self._fetch_all, *[self._write_all] * self._at_once]
            self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
            for thread in self._threads:
                thread.start()
        self._parts.put(_Part([_file(each) for each in files], [_path(each) for each in gone], position))

    def _fetch_all(self) -> None:
        while (part := self._parts.get()) is not None:
            try:
                if self._error is None:
                    self._fetched_parts.put((part, self._fetched(self._missing(part))))
            except BaseException as error:
                self._error = error
        for _ in range(self._at_once):
            self._fetched_parts.put(None)

    def _write_all(self) -> None:
        while (taken := self._fetched_parts.get()) is not None:
            try:
                if self._error is None:
                    self._write(*taken)
            except BaseException as error:
                self._error = error

    def _missing(self, part: _Part) -> list[str]:
        asked = _packed(part._replace(gone=[]), [])
        return self._daemon.missing_contents(self._host, asked) if part.files else []

    def _write(self, part: _Part, contents: list[Content]) -> None:
        missing = self._send(part, contents, complete=False)
        if missing:  # since the daemon was asked
            self._send(part, [*contents, *self._fetched(missing)], complete=True)

    def _send(self, part: _Part, contents: list[Content], *, complete: bool) -> list[str]:
        """The digests of contents that are missing."""
        batch = _packed(part, contents)
        return self._daemon.put_foreign(self._host, batch, part.position, complete=complete)["missing"]

    def _fetched(self, digests: Sequence[str]) -> list[Content]:
        return self._cluster.contents(self._host, [bytes.fromhex(each) for each in digests]) if digests else []


def _packed(part: _Part, contents: Sequence[Content]) -> bytes:
    """The body for the daemon."""
    return msgspec.msgpack.encode({"put": part.files, "remove": part.gone, "contents": contents})


def _file(file: SharedFile) -> dict[str, Any]:
    values = {"content": file.digest.hex(), "made": file.made, **_path(file.path)}
    return values | {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, "since": file.since}


def _path(path: bytes) -> dict[str, Any]:
    return {"path": "", "path_b64": path}

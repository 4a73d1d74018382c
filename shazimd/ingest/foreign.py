"""The files of other hosts in the store: written as a link brings them, and found by every search like the files here.

A file of the host ``nas`` has the path ``nas:/srv/ski.jpg``, a content like any other, and no file on this disk. The
ctime of a foreign file's row is the cluster's number of the transaction that told of its content first, 0 for those
that were there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import NamedTuple

import structlog

from shazimd.errors import BadInput, StoreFull, Unavailable
from shazimd.fingerprint import Fingerprint
from shazimd.ingest.commit import Committer
from shazimd.ingest.foreign_rows import Checker, ForeignFile, SoundRows, refusal
from shazimd.ingest.values import followed_hosts, set_followed_hosts
from shazimd.protocol import PathFields
from shazimd.protocol.cluster import ForeignHost, ForeignReply, RefusedRow
from shazimd.search.library import Library
from shazimd.store import keys
from shazimd.store.base import BulkWriter, Reader, Writer
from shazimd.text import path_fields, printable
from shazimd.types import ContentId, FileRow, FileState, Stat

log = structlog.get_logger()

BATCH = 256
"""Files removed in one transaction."""
RESERVE_PARTS, RESERVE_MAX = 20, 1 << 30
"""A twentieth of the disk, but at most a GiB, is left to this host's own files."""


class ForeignFiles:
    def __init__(self, library: Library, committer: Committer, own_host: str | None, *, keeps_features: bool) -> None:
        """Without ``keeps_features`` no local features are stored, and contents without any lack nothing."""
        self._keeps_features = keeps_features
        self._library = library
        self._committer = committer
        self._own_host = own_host

    def put(self, host: str, body: bytes, position: str | None, *, complete: bool, packed: bool) -> ForeignReply:
        """Write and remove files of a host, and the position that the link has reached with them, in one transaction.

        Nothing is written, and the lacking contents are named, if files have contents that are neither known nor given;
        with ``complete`` such files are refused. Doing it again changes nothing. ``packed``: see ``Checker``. Raises
        BadInput for another body, and Unavailable while the disk of the store is full, or nearly so."""
        rows = self._sound(host, body, packed)
        if not complete and (missing := self._missing(rows)):
            return {"missing": missing, "refused": []}
        if rows.put or rows.contents:
            self._expect_room()
        self._committer.expect_writable()
        work = partial(
            write_rows,
            rows=rows,
            host=host,
            position=position,
            features=self._keeps_features,
            model=self._library.model_id,
        )
        refused = rows.refused + self._write(work).refused
        for each in refused:
            log.warning("foreign_row_refused", host=host, row=each["row"], reason=each["reason"])
        log.debug("foreign_files", host=host, files=len(rows.put), removed=len(rows.remove), position=position)
        return {"missing": [], "refused": refused}

    def missing(self, host: str, body: bytes, *, packed: bool) -> list[str]:
        """The contents of files that are neither known nor given, as digests in hexadecimal. Raises BadInput."""
        return self._missing(self._sound(host, body, packed))

    def hosts(self) -> list[ForeignHost]:
        """The hosts whose files are known, with the position that the link reached."""
        with self._library.store.read() as reader:
            return [{"host": host, "position": position} for host, position in sorted(followed_hosts(reader).items())]

    def paths(self, host: str, after: bytes | None, limit: int) -> list[PathFields]:
        """Files of a host, from a path on; without the name of the host."""
        root = self._root_of_other(host)
        start = None if after is None else root[:-1] + after
        with self._library.store.read() as reader:
            paths = [path for path, _ in islice(reader.walk(root, after=start), limit)]
        return [path_fields(path[len(root) - 1 :]) for path in paths]

    def forget(self, host: str) -> int:
        """Remove all files of a host; their number. Contents that no other file has stay for their grace.

        The host may have had this host's name: a host that takes the name of one it followed forgets that one.
        Raises Unavailable while the store is not writable."""
        self._committer.expect_writable()
        root, total = _root(host), 0
        while removed := self._committer.submit(partial(_remove_some, root=root)).result():
            total += removed
        self._committer.submit(partial(_unfollow, host=host)).result()
        log.info("foreign_host_forgotten", host=host, files=total)
        return total

    def _write(self, work: Callable[[BulkWriter], Applied]) -> Applied:
        """Have rows written, then indexed while the committer writes the next of them."""
        indexed: list[Future[None]] = []
        written = self._committer.submit(
            work, lambda applied: indexed.append(self._library.replace_beside(applied.contents))
        ).result()
        try:
            indexed[0].result()
        except StoreFull:  # the committer waits for room, and says so
            self._committer.submit(lambda _writer: written.contents, self._library.replace).result()
        return written

    def _sound(self, host: str, body: bytes, packed: bool) -> SoundRows:
        return Checker(packed=packed, features=self._keeps_features).sound(self._root_of_other(host), body)

    def _expect_room(self) -> None:
        """Raise Unavailable where other hosts' files would take the space that this host's own need."""
        disk = os.statvfs(self._library.store.info()["path"])
        reserve = min(RESERVE_MAX, disk.f_blocks * disk.f_frsize // RESERVE_PARTS)
        if disk.f_bavail * disk.f_frsize < reserve:
            raise Unavailable(f"the disk of the store has less than {reserve >> 20} MiB free: other hosts wait")

    def _root_of_other(self, host: str) -> bytes:
        if host == self._own_host:
            raise BadInput(f'host is "{host}", which is this host, expected the name of another host')
        return _root(host)

    def _missing(self, rows: SoundRows) -> list[str]:
        """Contents of files that are neither known nor given, or were made by others since."""
        wanted = {bytes.fromhex(file.content): file.made for file in rows.put.values()}
        with self._library.store.read() as reader:
            return [
                digest.hex()
                for digest, made in wanted.items()
                if digest not in rows.contents
                and _lacks(reader, reader.content(digest), made, features=self._keeps_features)
            ]


class Applied(NamedTuple):
    contents: list[tuple[ContentId, Fingerprint]]
    """those that are new or made in another way"""
    refused: list[RefusedRow]
    """files whose content is unknown, or can't be stored"""


def write_rows(
    writer: BulkWriter,
    rows: SoundRows,
    host: str,
    position: str | None,
    *,
    features: bool = True,
    model: str | None = None,
) -> Applied:
    """Write checked rows of a host and the position, if one is given. ``features``: they are kept here. ``model``: that
    of the vectors in the index."""
    digests = {path: bytes.fromhex(file.content) for path, file in rows.put.items()}
    given = {digest: rows.contents[digest] for digest in digests.values() if digest in rows.contents}
    added = writer.add_new_contents(given)
    written = Applied([(content, given[digest]) for digest, content in added.items()], [])
    files: dict[bytes, FileRow] = {}
    for path, file in rows.put.items():
        digest = digests[path]
        try:
            content = added.get(digest) or _put_content(
                writer, file, given.get(digest), written, features=features, model=model
            )
        except ValueError as error:  # such as a vector of another width than the model's others: nothing is written yet
            written.refused.append(refusal(path, str(error)))
            continue
        if content is None:
            written.refused.append(refusal(path, "its content is neither known nor given"))
        else:
            stat = Stat(file.size_bytes, file.mtime_ns, 0, file.since)
            files[path] = FileRow(stat, FileState.INDEXED, content)
    writer.put_foreign_files(files)
    for path in rows.remove:
        writer.remove_file(path)
    hosts = followed_hosts(writer)
    if position is not None or host not in hosts:
        set_followed_hosts(writer, {**hosts, host: position})
    return written


def _put_content(
    writer: Writer,
    file: ForeignFile,
    fingerprint: Fingerprint | None,
    written: Applied,
    *,
    features: bool,
    model: str | None,
) -> ContentId | None:
    """The content of a file, put or renewed as given; None if it is unknown."""
    digest = bytes.fromhex(file.content)
    known = writer.content(digest)
    if fingerprint is None or not _lacks(writer, known, file.made, features=features):
        return known
    if known is None:
        known = writer.add_content(digest, fingerprint, related=False, held=True)
    else:
        if fingerprint.features:
            writer.put_features(known, fingerprint.features, fingerprint)
            writer.relations.unmark([known])
        if fingerprint.model is not None and fingerprint.signals.fv is not None:
            writer.put_vector(known, fingerprint.model, fingerprint.signals.fv)
    written.contents.append((known, writer.fingerprint(known, model)))  # with the vector that it may have had before
    return known


def _lacks(reader: Reader, content: ContentId | None, made: str, *, features: bool) -> bool:
    """Whether a content is unknown, or only other hosts have it and it was fingerprinted in another way than ``made``
    says; local ``features`` count if they are kept."""
    if content is None:
        return True
    version, _, model = made.partition("/")
    found, has_vector = reader.made(content, model or None)
    is_as_made = (version == str(found) or not features) and (has_vector or not model)
    return not is_as_made and not reader.count_files(content, 1)


def _root(host: str) -> bytes:
    root = host.encode(errors="replace") + b":/"
    if keys.root_of(root) != root:
        raise BadInput(f'host is "{printable(host)}", expected the name of another host, in a-z, 0-9, "." and "-"')
    return root


def _unfollow(writer: Writer, host: str) -> None:
    set_followed_hosts(writer, {name: at for name, at in followed_hosts(writer).items() if name != host})


def _remove_some(writer: Writer, root: bytes) -> int:
    paths = [path for path, _ in islice(writer.walk(root), BATCH)]
    for path in paths:
        writer.remove_file(path)
    return len(paths)

"""Alerts about matches on other hosts: the second half of a new file's alert, once other hosts know of the file.

Matches on this host are told at once. For the others the store keeps a note with the file. The link tells other hosts
of the file, fetches all that they told before, and then has the note decided: of two alike files that land on two hosts
at the same time, the cluster's order says which is the later, and the later is told. A note outlives any restart, and
follows its file's content: the file may be renamed meanwhile.
"""

from __future__ import annotations

import time
from itertools import islice

import structlog

from shazimd.errors import Unavailable, WorkerFailed, WorkerLost
from shazimd.ingest.commit import Committer
from shazimd.ingest.decision import Across, Candidate, Decider, Decision, OwnDecisions
from shazimd.ingest.pending import PendingAlerts
from shazimd.protocol import Alert
from shazimd.protocol.cluster import UndecidedFile
from shazimd.search.fetching import Fetching
from shazimd.search.library import Library
from shazimd.store.base import Reader, Writer
from shazimd.text import path_fields
from shazimd.types import ContentId, Digest

log = structlog.get_logger()


class CrossHostAlerts:
    def __init__(self, library: Library, committer: Committer, decider: Decider, pending: PendingAlerts) -> None:
        self._library = library
        self._store = library.store
        self._committer = committer
        self._decider = decider
        self._pending = pending
        self._failed: set[int] = set()
        """notes whose pictures ended or blocked a worker: the next start of the daemon decides"""

    def undecided(self, limit: int) -> list[UndecidedFile]:
        """The files whose matches on other hosts are still to be looked for, in the order of their arrival. Those that
        wait for vectors, or for the next start of the daemon, are left out."""
        awaits = self._library.awaits_vectors
        with self._store.read() as reader:
            ready = (
                (number, note)
                for number, note in reader.pending_across()
                if number not in self._failed and not awaits(note.query.fingerprint.model)
            )
            notes = list(islice(ready, limit))
            return [
                {
                    "id": number,
                    **path_fields(_path_now(reader, note.path, note.digest) or note.path),
                    "content": note.digest.hex(),
                    "gone": _path_now(reader, note.path, note.digest) is None,
                }
                for number, note in notes
            ]

    def decide(self, number: int, order: int, digest: Digest, fetching: Fetching | None = None) -> None:
        """Look for matches of a file on other hosts, and replace its note by the alert, if any; an unknown note, and
        that of another content, is passed over. ``order``: the cluster's number of the transaction that told of the
        file, all before are known here; files told of later do not match. 0: all match. The note stays when a
        worker fails, and is not listed again before the next start; also when this raises WorkerLost, or Unavailable
        for features that ``fetching`` could not bring."""
        self._committer.expect_writable()
        started = time.perf_counter()
        with self._store.read() as reader:
            found = next(reader.pending_across(after=number - 1), None)
            if found is None or found[0] != number or found[1].digest != digest:
                return
            note = found[1]
            content, path = reader.content(note.digest), _path_now(reader, note.path, note.digest)
            decided = OwnDecisions.read(reader, note.digest)
            is_last = path in (None, note.path) or not _has_later_note(reader, number, path, digest)
        decision = Decision(None)
        if content is not None and path is not None and is_last:
            file = Candidate(path, None, started, decided=decided, across=Across(order, fetching))
            try:
                decision = self._decider.by_search(file, self._pending.with_vector(note.query, content), content)
            except WorkerLost:
                raise
            except WorkerFailed as error:
                log.warning("foreign_matches_not_found", path=path, code=error.code, reason=str(error))
                self._failed.add(number)
                return
            if fetching is not None and fetching.missed:
                raise Unavailable(f"features of {fetching.missed} pictures of other hosts are not here yet")
        self._commit(number, content, decision)

    def _commit(self, number: int, content: ContentId | None, decision: Decision) -> None:
        def work(writer: Writer) -> Alert | None:
            if not writer.remove_pending_alert(number) or content is None:
                return None
            return self._pending.settle(writer, content, decision)

        self._committer.submit(work, self._pending.publish).result()


def _has_later_note(reader: Reader, number: int, path: bytes | None, digest: Digest) -> bool:
    """Whether a later note leads to the same file: a file that is renamed before its alert about this host is decided
    is ingested anew, with a note of its own."""
    return any(
        note.digest == digest and _path_now(reader, note.path, digest) == path
        for _, note in reader.pending_across(after=number)
    )


def _path_now(reader: Reader, path: bytes, digest: Digest) -> bytes | None:
    """The path, or another file of this host with the content if it is no longer at the path; None without any."""
    content = reader.content(digest)
    if content is None:
        return None
    row = reader.file(path)
    if row is not None and row.content == content:
        return path
    return next((other for other, _ in reader.some_files_of(content, 1)), None)

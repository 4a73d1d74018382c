"""The verbs about persons' decisions: from JSON lines to rows of the store, and back."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from shazimd.daemon import wire
from shazimd.errors import BadInput, NotFound
from shazimd.ingest.commit import Committer
from shazimd.protocol.groups import DecisionLine, DecisionMessage
from shazimd.store.base import Reader, Store, Writer
from shazimd.types import UNDECODABLE, DecisionKind, Digest, UserDecision, decodable

FILES_MAX = 100
"""Files named in a decision's message."""
LINES_MAX = 10_000


class Decided(NamedTuple):
    ids: list[int]
    digests: set[Digest]
    """of all contents in the decisions"""


def add(committer: Committer, body: bytes, uid: int | None, *, accept_unknown: bool) -> Decided:
    """Store the decisions in these JSON lines, all or none.

    ``accept_unknown``: an import; contents need not be known, and a line's own uid and time count. Raises BadInput with
    the line, NotFound with the digest."""
    decisions = [_decision(n, line, uid, keep_origin=accept_unknown) for n, line in _lines(body)]

    def work(writer: Writer) -> list[int]:
        if not accept_unknown:
            _expect_known(writer, decisions)
        return [writer.decisions.add(each) for each in decisions]

    digests = {digest for each in decisions for digest in each.contents}
    return Decided(committer.submit(work).result(), digests)


def undo(store: Store, committer: Committer, number: int) -> DecisionMessage:
    """Take a decision back. Raises NotFound."""
    removed = committer.submit(lambda writer: writer.decisions.remove(number)).result()
    if removed is None:
        raise NotFound(f"decision {number}: there is none with this id; `shazimctl decisions` lists them")
    with store.read() as reader:
        return _message(reader, number, removed)


def listed(store: Store, after: int, limit: int) -> list[DecisionMessage]:
    """Decisions with id > ``after``, oldest first."""
    with store.read() as reader:
        return [_message(reader, number, made) for number, made in reader.decisions.all(after, limit)]


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    lines = [(n, line) for n, line in enumerate(body.splitlines(), 1) if line.strip()]
    if not lines:
        raise BadInput("the body is empty, expected a decision in each line")
    if len(lines) > LINES_MAX:
        raise BadInput(f"there are {len(lines)} decisions, expected at most {LINES_MAX} at once")
    yield from lines


def _decision(n: int, line: bytes, uid: int | None, *, keep_origin: bool) -> UserDecision:
    try:
        given = msgspec.json.decode(line, type=decodable(DecisionLine))
    except UNDECODABLE as error:
        raise BadInput(f"line {n}: {error}") from error
    kind = DecisionKind(given.kind)
    contents = tuple(sorted({bytes.fromhex(digest) for digest in given.contents}))
    keep = None if given.keep is None else bytes.fromhex(given.keep)
    if kind is DecisionKind.KEEP and keep not in contents:
        raise BadInput(f"line {n}: keep is {given.keep}, expected one of the contents")
    if kind is not DecisionKind.KEEP and keep is not None:
        raise BadInput(f"line {n}: keep is {given.keep}, expected none for {kind}")
    if len(contents) < 2 and kind is DecisionKind.NOT_DUPLICATES:
        raise BadInput(f"line {n}: there is one content, expected two or more for {kind}")
    keep_path = _keep_path(n, given)
    time = (keep_origin and given.time) or datetime.now(UTC).isoformat(timespec="seconds")
    return UserDecision(kind, contents, keep, given.uid if keep_origin else uid, time, keep_path)


def _keep_path(n: int, given: DecisionLine) -> bytes:
    try:
        path = b64decode(given.keep_path_b64, validate=True) if given.keep_path_b64 else given.keep_path.encode()
    except ValueError as error:
        raise BadInput(f"line {n}: keep_path_b64 is {given.keep_path_b64[:40]!r}, expected base64") from error
    if path and (given.kind != "keep" or not path.startswith(b"/")):
        raise BadInput(f"line {n}: keep_path is {given.keep_path!r}, expected an absolute path, for the kind keep only")
    return path


def _expect_known(writer: Writer, decisions: list[UserDecision]) -> None:
    for digest in (digest for each in decisions for digest in each.contents):
        if writer.content(digest) is None:
            raise NotFound(f"content {digest.hex()}: no known image has these bytes")


def _message(reader: Reader, number: int, made: UserDecision) -> DecisionMessage:
    return wire.decision(number, made, islice(_files(reader, made), FILES_MAX))


def _files(reader: Reader, made: UserDecision) -> Iterator[tuple[bytes, Digest]]:
    for digest in made.contents:
        content = reader.content(digest)
        if content is not None:
            yield from ((path, digest) for path, _ in reader.some_files_of(content, FILES_MAX))

"""The files of this host as a feed for a link: changes after a position, or all files where the position is too old.

A position is text that the link gives back: NUMBER.OPENING, or NUMBER.OPENING.PATH in the middle of a reading of all
files, with the last path in URL-safe base64. The number is that of the last change before the reading began.
"""

from __future__ import annotations

import base64
from itertools import islice
from typing import NamedTuple

from shazimd.errors import BadInput, Unavailable
from shazimd.protocol.cluster import ChangedFile, ChangesPage, FingerprintMessage
from shazimd.store.base import Reader, Store
from shazimd.store.records import encode_hashes
from shazimd.text import hexadecimal, path_fields
from shazimd.types import ContentId, Digest, FileRow


class _Position(NamedTuple):
    number: int
    opening: str
    path: bytes | None = None
    """the last path of a reading of all files; empty at its beginning, None after its end"""

    @classmethod
    def parse(cls, text: str) -> _Position:
        try:
            number, opening, *path = text.split(".")
            return cls(int(number), opening, *(base64.urlsafe_b64decode(each) for each in path[:1]))
        except ValueError as error:
            raise BadInput(f'after is "{text[:80]}", expected the "after" of an earlier answer') from error

    def __str__(self) -> str:
        path = [] if self.path is None else [base64.urlsafe_b64encode(self.path).decode()]
        return ".".join([str(self.number), self.opening, *path])


def changes(store: Store, model: str | None, after: str | None, limit: int) -> ChangesPage:
    """The present state of files that changed after a position, oldest change first. Raises BadInput, Unavailable."""
    with store.read() as reader:
        openings = reader.changes.openings()
        if not openings:
            raise Unavailable("this daemon numbers no changes: expected a [cluster] host in its configuration")
        at = _Position.parse(after) if after is not None else None
        if at is None or not reader.changes.reaches_back_to(at.number, at.opening):
            start = _Position(reader.changes.last(), openings[-1].id, b"")
            return _reading(reader, model, start, limit) | {"restarted": True}
        return _reading(reader, model, at, limit) if at.path is not None else _changes(reader, model, at, limit)


def owed(reader: Reader, told: str) -> int:
    """The number of changes after a position, at most."""
    return max(0, reader.changes.last() - _Position.parse(told).number)


def fingerprints(store: Store, model: str | None, digests: list[Digest]) -> list[FingerprintMessage]:
    """The fingerprints of known contents, as other hosts need them."""
    with store.read() as reader:
        return [message for digest in digests if (message := _fingerprint(reader, model, digest))]


def _changes(reader: Reader, model: str | None, at: _Position, limit: int) -> ChangesPage:
    found = list(islice(reader.changes.after(at.number), limit))
    last = found[-1][0] if found else at.number
    files = [_state(reader, model, path, reader.file(path)) for _, path in found]
    return {
        "changes": files,
        "after": str(_Position(last, reader.changes.opening_of(last))),
        "restarted": False,
        "complete": len(found) < limit,
        "reading": False,
        "ended": False,
    }


def _reading(reader: Reader, model: str | None, at: _Position, limit: int) -> ChangesPage:
    """A page of all files; the position after the last leads to the changes since the reading began."""
    found = list(islice(reader.walk(b"/", after=at.path or None), limit))
    is_last = len(found) < limit
    return {
        "changes": [state for path, row in found if (state := _state(reader, model, path, row))["content"] is not None],
        "after": str(at._replace(path=None if is_last else found[-1][0])),
        "restarted": False,
        "complete": False,
        "reading": True,
        "ended": is_last,
    }


def _state(reader: Reader, model: str | None, path: bytes, row: FileRow | None) -> ChangedFile:
    """Without a content for a file that is no picture, or whose content is unsound until the backfill makes it anew."""
    fields = path_fields(path)
    if row is None or row.content is None or not reader.knows(row.content):
        return {**fields, "content": None, "made": "", "size_bytes": 0, "mtime_ns": 0}
    return {
        **fields,
        "content": reader.digest(row.content).hex(),
        "made": _made(reader, row.content, model),
        "size_bytes": row.stat.size,
        "mtime_ns": row.stat.mtime_ns,
    }


def _fingerprint(reader: Reader, model: str | None, digest: Digest) -> FingerprintMessage | None:
    content = reader.content(digest)
    if content is None:
        return None
    f = reader.fingerprint(content, model)
    fv = f.signals.fv
    ah, dh, turned = encode_hashes(f.oriented_hashes)
    message: FingerprintMessage = {
        "content": digest.hex(),
        "made": _made(reader, content, model),
        "width": f.width,
        "height": f.height,
        "format": f.format,
        "ah": hexadecimal(ah),
        "dh": hexadecimal(dh),
        "pixels": _text(f.pixels) if f.pixels else None,
        "low_information": f.low_information,
        "turned": _text(turned),
        "features": _text(f.features),
        "model": f.model,
        "vector": None if fv is None else _text(fv.astype("<f2").tobytes()),
    }
    if f.damaged:
        message["damaged"] = True
    return message


def _made(reader: Reader, content: ContentId, model: str | None) -> str:
    """The version of a content's features, and the model of its vector."""
    version, has_vector = reader.made(content, model)
    return f"{version}/{model if has_vector else ''}"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

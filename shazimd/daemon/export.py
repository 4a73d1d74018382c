"""The fingerprints of all files, for use outside of shazimd."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import islice
from typing import cast

from shazimd.fingerprint import Fingerprint
from shazimd.protocol import ExportedFile
from shazimd.store.base import Reader, Store
from shazimd.text import HASHES, hexadecimal, path_fields
from shazimd.types import ContentId

BATCH = 256
"""Contents read in a transaction."""


def exported_files(store: Store, model: str | None, *, vectors: bool) -> Iterator[ExportedFile]:
    """Each indexed file, by content; as of the time when it is read."""
    after = 0
    while True:
        with store.read() as reader:
            contents = [content for content, *_ in islice(reader.hashes(after), BATCH)]
            rows = [row for content in contents for row in _rows(reader, content, model, vectors)]
        yield from rows
        if not contents:
            return
        after = contents[-1]


def _rows(reader: Reader, content: ContentId, model: str | None, vectors: bool) -> Iterator[ExportedFile]:
    fingerprint, digest = reader.fingerprint(content, model if vectors else None), reader.digest(content).hex()
    for path in reader.files_of(content):
        row = reader.file(path)
        if row is not None:
            file = {
                **path_fields(path),
                "content": digest,
                "size_bytes": row.stat.size,
                "mtime": row.stat.mtime_ns / 1e9,
                "width": fingerprint.width,
                "height": fingerprint.height,
                "format": fingerprint.format,
                **dict(zip((each.name for each in HASHES), map(hexadecimal, fingerprint.signals.hashes), strict=True)),
                "pixels": fingerprint.pixels.hex() if fingerprint.pixels else None,
                "low_information": fingerprint.low_information,
                "model": fingerprint.model,
                "vector": _vector(fingerprint),
            }
            yield cast(ExportedFile, file)


def _vector(fingerprint: Fingerprint) -> str | None:
    fv = fingerprint.signals.fv
    return None if fv is None else base64.b64encode(fv.astype("<f4", copy=False).tobytes()).decode()

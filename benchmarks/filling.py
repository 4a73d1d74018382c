"""Fills a store with rows alone, as the ingest would write them: for benchmarks and tests of groups."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.store.base import Writer
from shazimd.types import (
    ContentId,
    Digest,
    Evidence,
    FileRow,
    FileState,
    Mapping,
    PictureFacts,
    Relation,
    Stat,
    Verdict,
    Verification,
)

WHOLE = Mapping(1.0, 0.0, False, (0.0, 0.0, 1.0, 1.0))
CENTRE = Mapping(0.5, 0.0, False, (0.25, 0.25, 0.75, 0.75))
"""The asked picture is the middle of the known one."""


def put_picture(
    writer: Writer,
    digest: Digest,
    files: MappingOf[bytes, Stat],
    size: tuple[int, int],
    pixels: bytes | None = None,
    hashes: tuple[int, int] = (1, 1),
    features: bytes = b"",
    facts: PictureFacts | None = None,
) -> ContentId:
    """A content with its files; nothing is left to compare."""
    made = Fingerprint(Signals(hashes, None), None, *size, "JPEG", pixels, features=features)
    content = writer.add_content(digest, made)
    writer.relations.unmark([content])
    if facts is not None:
        writer.relations.put_facts(content, facts)
    for path, stat in files.items():
        writer.put_file(path, FileRow(stat, FileState.INDEXED, content))
    return content


def relate(
    writer: Writer,
    asked: ContentId,
    known: ContentId,
    verdict: Verdict = Verdict.COPY,
    mapping: Mapping = CENTRE,
    evidence: Evidence | None = None,
) -> None:
    writer.relations.put([Relation(asked, known, Verification(verdict, 60, 0.97, mapping), evidence)])

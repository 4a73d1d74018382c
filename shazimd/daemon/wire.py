"""Messages of the protocol from the values of the search: rounded, and with paths as text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

from shazimd.ingest.alerts import differs_message
from shazimd.protocol import FailedFile, FoundImage, Geometry, PairLine, Placement, Scores
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, FactsMessage, GroupMember
from shazimd.search.join import Pair, Step
from shazimd.search.members import GroupMembers, Member
from shazimd.text import SIMILARITIES, path_fields, path_fields_as, printable
from shazimd.types import (
    ContentId,
    Digest,
    FileRow,
    Match,
    PictureFacts,
    Similarities,
    UserDecision,
    Verification,
    rounded_score,
)

PROGRESS_EVERY_S = 1.0
"""The server notices a closed connection only when writing a line."""


def found_image(match: Match) -> FoundImage:
    found = {
        **path_fields(match.path),
        **scores(match.score, match.similarities),
        **geometry(match.verification),
        "verdict": match.verdict.value,
        "width": match.width,
        "height": match.height,
    }
    return cast(FoundImage, {**found, "damaged": True} if match.damaged else found)


def scores(score: float, similarities: Similarities) -> Scores:
    each = {name: None if value is None else rounded_score(value) for name, value in similarities.named().items()}
    return cast(Scores, {"score": rounded_score(score), **each})


def geometry(verification: Verification | None) -> Geometry:
    if verification is None:
        return {}
    return {
        "inliers": verification.inliers,
        "agreement": verification.agreement,
        "mapping": cast(Placement, verification.mapping._asdict()) if verification.mapping else None,
        "differs": differs_message(verification.differs) if verification.differs else None,
    }


def duplicate_group(group: GroupMembers, members_max: int | None = None) -> DuplicateGroup:
    return {
        "id": group.id.hex(),
        "saves_bytes": group.saves_bytes,
        "files": len(group.members),
        "reason": group.reason,
        "decision": group.decision,
        "members": [_group_member(member) for member in group.members[:members_max]],
    }


def duplicate_groups(groups: Iterator[GroupMembers | None]) -> Iterator[DuplicateGroup | None]:
    """Closing it closes ``groups``."""
    for group in groups:
        yield None if group is None else duplicate_group(group)


def cursor(after: tuple[int, ContentId]) -> str:
    """The position of a page, as ``server.parameters`` parses it."""
    return f"{-after[0]}.{after[1]}"


def decision(number: int, made: UserDecision, files: Iterable[tuple[bytes, Digest]]) -> DecisionMessage:
    """``files``: present files of its contents, as (path, digest)."""
    message: DecisionMessage = {
        "id": number,
        "kind": made.kind.value,
        "contents": [digest.hex() for digest in made.contents],
        "keep": made.keep.hex() if made.keep else None,
        "uid": made.uid,
        "time": made.time,
        "files": [{**path_fields(path), "content": digest.hex()} for path, digest in files],
    }
    if made.keep_path:
        return cast(DecisionMessage, {**message, **path_fields_as("keep_path", made.keep_path)})
    return message


def failed_file(path: bytes, row: FileRow) -> FailedFile:
    code, _, reason = row.reason.partition(": ")
    return {
        **path_fields(path),
        "code": code,
        "reason": printable(reason),
        "size_bytes": row.stat.size if row.stat.size >= 0 else None,
        "since": row.since or None,
    }


def pair_lines(steps: Iterator[Step], after: ContentId) -> Iterator[PairLine]:
    """The pairs, and the progress at least every second and at the end."""
    reported = time.monotonic()
    for content, pair in steps:
        if pair is not None:
            yield _pair_line(pair, after)
            continue
        after = content
        if time.monotonic() - reported >= PROGRESS_EVERY_S:
            reported = time.monotonic()
            yield {"after": after}
    yield {"after": after}


def _pair_line(pair: Pair, after: ContentId) -> PairLine:
    paths = path_fields(pair.path) | path_fields_as("match", pair.match)
    return cast(PairLine, {"after": after, **paths, **scores(pair.score, pair.similarities)})


def _group_member(member: Member) -> GroupMember:
    tie = member.tie
    no_scores: dict[str, None] = dict.fromkeys(("score", *SIMILARITIES))
    values: dict[str, Any] = {
        **path_fields(member.path),
        **(scores(tie.score, tie.similarities) if tie else no_scores),
        **(geometry(tie.verification) if tie else {}),
        "also": [path_fields(path) for path in member.also],
        "content": member.digest.hex(),
        "width": member.size[0],
        "height": member.size[1],
        "size_bytes": member.size_bytes,
        "mtime": member.mtime_ns / 1e9,
        "format": member.format,
        "verdict": tie.verdict.value if tie else None,
        "facts": _facts(member.facts) if member.facts else None,
    }
    if member.damaged:
        values["damaged"] = True
    if member.stays:
        values["stays"] = True
    return cast(GroupMember, values)


def _facts(facts: PictureFacts) -> FactsMessage:
    return {
        "camera": printable(facts.camera) or None,
        "captured": printable(facts.captured) or None,
        "jpeg_quality": facts.jpeg_quality or None,
        "lossless": facts.lossless,
        "grey": facts.grey,
    }

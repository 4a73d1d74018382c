"""Messages of the protocol from the values of the search: rounded, and with paths as text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import cast

from shazimd.protocol import (
    DiffersMessage,
    DuplicateGroup,
    FoundImage,
    Geometry,
    GroupMember,
    PairLine,
    PathFields,
    Placement,
    Region,
    Scores,
)
from shazimd.search.duplicates import Member
from shazimd.search.join import Pair, Step
from shazimd.text import path_fields
from shazimd.types import ContentId, Differences, Mapping, Match, Similarities, Verification, rounded_score

PROGRESS_EVERY_S = 1.0
"""The server notices a closed connection only when writing a line."""


def found_image(match: Match) -> FoundImage:
    return {
        **cast(PathFields, path_fields(match.path)),
        **scores(match.score, match.similarities),
        **geometry(match.verification),
        "verdict": match.verdict.value,
        "width": match.width,
        "height": match.height,
    }


def scores(score: float, similarities: Similarities) -> Scores:
    dah, ddh, dfv = (None if each is None else rounded_score(each) for each in similarities)
    return {"score": rounded_score(score), "dah": dah, "ddh": ddh, "dfv": dfv}


def geometry(verification: Verification | None) -> Geometry:
    if verification is None:
        return {}
    return {
        "inliers": verification.inliers,
        "agreement": verification.agreement,
        "mapping": _placement(verification.mapping) if verification.mapping else None,
        "differs": _differs(verification.differs) if verification.differs else None,
    }


def duplicate_group(members: Sequence[Member]) -> DuplicateGroup:
    saves_bytes = sum(member.size_bytes for member in members[1:])
    return {"saves_bytes": saves_bytes, "members": [_group_member(member) for member in members]}


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
    paths = path_fields(pair.path) | path_fields(pair.match, "match")
    return cast(PairLine, {"after": after, **paths, **scores(pair.score, pair.similarities)})


def _group_member(member: Member) -> GroupMember:
    return {
        **cast(PathFields, path_fields(member.path)),
        "width": member.width,
        "height": member.height,
        "size_bytes": member.size_bytes,
        "score": rounded_score(member.relation.score) if member.relation else None,
        "verdict": member.relation.verdict.value if member.relation else None,
    }


def _placement(mapping: Mapping) -> Placement:
    return {
        "scale": mapping.scale,
        "rotation_deg": mapping.rotation_deg,
        "mirrored": mapping.mirrored,
        "region": mapping.region,
    }


def _differs(differences: Differences) -> DiffersMessage:
    regions: list[Region] = [{"query": query, "match": match} for query, match in differences.regions]
    return {"share": differences.share, "regions": regions}

"""The files of a group, the one to keep first, with the reason and each file's relation to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from shazimd.search.geometry import inverted
from shazimd.search.keep import KeepFacts, KeepRules, choose
from shazimd.search.listing import GroupSummary, keep_facts, named_files
from shazimd.search.query import IDENTICAL
from shazimd.search.score import best_orientation
from shazimd.search.silence import Silences
from shazimd.store.base import Reader
from shazimd.types import (
    ContentId,
    Digest,
    Evidence,
    PictureFacts,
    Relation,
    Similarities,
    Verdict,
    Verification,
    Weights,
)

SIGNS = {
    "crop": "crop",
    "frame": "framed version",
    "corners": "turned version with filled corners",
    "blur": "blurred version",
    "upscaled": "upscaled version",
    "sharpened": "sharpened version",
    "noise": "noisy version",
    "additions": "version with additions",
    "recompressed": "recompressed version",
    "colours": "version with other colours",
    "darkened": "version with darkened edges",
}
"""Words for the signs of ``Evidence``."""
DETAIL_TOLD = 1.15
"""A smaller difference in detail is not worth a word."""


class Tie(NamedTuple):
    """The relation of a file to the file to keep."""

    verdict: Verdict
    score: float
    similarities: Similarities
    verification: Verification | None
    """from this file's picture to the one to keep"""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a group."""

    path: bytes
    also: tuple[bytes, ...]
    """other names of the same file"""
    digest: Digest
    size: tuple[int, int]
    """width and height in pixels"""
    size_bytes: int
    mtime_ns: int
    format: str
    facts: PictureFacts | None
    tie: Tie | None
    """None for the file to keep"""
    damaged: bool = False
    """see ``Fingerprint.damaged``"""
    stays: bool = False
    """a person decided to leave the files of its content: all are to stay"""


class GroupMembers(NamedTuple):
    id: Digest
    """of the group's centre"""
    saves_bytes: int
    reason: str
    """for keeping the first member"""
    decision: int | None
    members: list[Member]


class _GroupPicture(NamedTuple):
    contents: tuple[ContentId, ...]
    signs: int
    proof: str
    complete: bool
    """whether it is related to every other picture of the group"""


class _Listed(NamedTuple):
    picture: int
    content: ContentId
    member: Member
    facts: KeepFacts


def members_of(
    reader: Reader, summary: GroupSummary, rules: KeepRules, silences: Silences, model: str | None, weights: Weights
) -> GroupMembers | None:
    """The files of a group as of now; None if fewer than two are left, its centre is gone, or no file is left of the
    pictures related to all. Other contents removed meanwhile are left out."""
    contents = [tuple(c for c in picture if reader.knows(c)) for picture in summary.pictures]
    related = _relations(reader, contents)
    pictures = [_picture(position, contents, related) for position in range(len(contents))]
    listed = [
        _Listed(position, content, member, facts)
        for position, picture in enumerate(pictures)
        for content in picture.contents
        for member, facts in _files(reader, content, picture, rules, silences)
    ]
    eligible = [each for each in listed if pictures[each.picture].complete]
    if len(listed) < 2 or not eligible or not reader.knows(summary.centre):
        return None
    choice = choose([each.facts for each in eligible], rules.by)
    kept = eligible[choice.position]
    rest = sorted((each for each in listed if each is not kept), key=lambda each: each.facts.path)
    rest.sort(key=lambda each: rules.rank(each.facts), reverse=True)
    ties = _Ties(reader, related, kept, model, weights)
    members = [kept.member, *(replace(each.member, tie=ties.to(each)) for each in rest)]
    saves = sum(each.member.size_bytes for each in rest)
    return GroupMembers(reader.digest(summary.centre), saves, choice.reason, summary.decision, members)


Related = dict[tuple[int, int], Relation]
"""Relations by the positions of two pictures, the smaller first."""


def _relations(reader: Reader, contents: Sequence[tuple[ContentId, ...]]) -> Related:
    """A relation of each pair of pictures that has one, a copy if any is."""
    found: Related = {}
    for b in range(len(contents)):
        for a in range(b):
            between = (reader.relations.between(x, y) for x, y in product(contents[a], contents[b]))
            relations = [each for each in between if each is not None]
            relations.sort(key=lambda each: each.verification.verdict is not Verdict.COPY)
            if relations:
                found[a, b] = relations[0]
    return found


def _picture(position: int, contents: Sequence[tuple[ContentId, ...]], related: Related) -> _GroupPicture:
    """A picture with the signs for and against it; the centre is related to all others by the group's making."""
    signs = 0
    others: list[tuple[str, ...]] = []
    details: list[float] = []
    copies = 0
    for pair, relation in related.items():
        if position not in pair:
            continue
        copies += relation.verification.verdict is Verdict.COPY
        if relation.evidence is not None:
            own, other, detail = _seen_from(relation, contents[position], relation.evidence)
            signs += len(own)
            others.append(other)
            details += [detail] if detail else []
    complete = position == 0 or copies == len(contents) - 1
    return _GroupPicture(contents[position], signs, _proof(others, details), complete)


def _seen_from(
    relation: Relation, contents: Sequence[ContentId], evidence: Evidence
) -> tuple[tuple[str, ...], tuple[str, ...], float | None]:
    """(own signs, the other's signs, own detail as a multiple of the other's)"""
    if relation.asked in contents:
        return evidence.asked, evidence.known, evidence.detail
    return evidence.known, evidence.asked, 1 / evidence.detail if evidence.detail else None


def _proof(others: Sequence[tuple[str, ...]], details: Sequence[float]) -> str:
    """The signs of the versions that were made from a picture, in words."""
    counted = Counter(sign for signs in others for sign in signs if sign in SIGNS)
    words = [_counted(SIGNS[sign], number) for sign, number in counted.items()]
    told = [f"original of the {' and the '.join(words)}"] if words else []
    if details and max(details) >= DETAIL_TOLD:
        told.append(f"shows detail {max(details):.1f} times finer")
    return ", ".join(told) or "no sign of an edit"


def _counted(words: str, number: int) -> str:
    """
    >>> _counted("crop", 1), _counted("crop", 2), _counted("version with other colours", 2)
    ('crop', '2 crops', '2 versions with other colours')
    """
    if number == 1:
        return words
    return f"{number} {words.replace('version', 'versions') if 'version' in words else words + 's'}"


def _files(
    reader: Reader, content: ContentId, picture: _GroupPicture, rules: KeepRules, silences: Silences
) -> Iterator[tuple[Member, KeepFacts]]:
    files = named_files(reader, content)
    seen, facts = reader.appearance(content), reader.relations.facts(content)
    place = silences.places.get(content)
    is_there = any(place in names for names, _ in files)
    for (path, *also), row in files[:1] if content in silences.left else files:
        chosen = content in silences.chosen and (not is_there or place in (path, *also))
        known = keep_facts(path, row, seen, facts, rules, chosen, picture.signs, picture.proof)
        yield (
            Member(
                path,
                tuple(also),
                reader.digest(content),
                (seen.width, seen.height),
                row.stat.size,
                row.stat.mtime_ns,
                seen.format,
                facts,
                None,
                seen.damaged,
                content in silences.left,
            ),
            known,
        )


class _Ties:
    """Relations to the file to keep."""

    def __init__(self, reader: Reader, related: Related, kept: _Listed, model: str | None, weights: Weights) -> None:
        self._reader = reader
        self._related = related
        self._kept = kept
        self._model = model
        self._weights = weights

    def to(self, other: _Listed) -> Tie:
        if other.picture == self._kept.picture:
            return Tie(Verdict.EXACT, 1.0, IDENTICAL, None)
        value, similarities = self._score(other)
        pair = min(other.picture, self._kept.picture), max(other.picture, self._kept.picture)
        relation = self._related.get(pair)
        if relation is None or relation.verification.verdict is None:  # without verification, by the score alone
            return Tie(Verdict.SIMILAR, value, similarities, None)
        found = relation.verification
        if self._asks_kept(relation, other):
            found = inverted(found, self._kept.member.size, other.member.size)
        return Tie(relation.verification.verdict, value, similarities, found)

    def _asks_kept(self, relation: Relation, other: _Listed) -> bool:
        """Whether the relation leads from the kept file's picture to the other's."""
        sides = {other.content: False, self._kept.content: True}
        return sides.get(relation.asked, not sides.get(relation.known, True))

    def _score(self, other: _Listed) -> tuple[float, Similarities]:
        own, kept = (self._reader.fingerprint(each.content, self._model).orientations for each in (other, self._kept))
        return best_orientation(own, kept, self._weights)

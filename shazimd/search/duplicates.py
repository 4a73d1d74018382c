"""Groups of duplicates among all known files.

Partners of a content are found like candidates of a query: by shared local features and, for few features, by score.
This finds mirrored, turned and cropped copies, too. Geometry confirms the pairs; files with the same bytes and contents
with the same pixels need no confirmation. Only copies are grouped, since another shot of a scene is worth keeping.
Without verification the score alone makes pairs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from shazimd.search.groups import Group, group
from shazimd.search.library import Library
from shazimd.search.query import (
    PROPOSED_FROM,
    Verify,
    by_hashes,
    by_words,
    fingerprints,
    may_be_faint,
    with_same_pixels,
)
from shazimd.search.score import best_orientation
from shazimd.store.base import Reader
from shazimd.types import (
    ContentId,
    Fingerprint,
    Signals,
    Verdict,
    Verification,
    Weights,
    check_threshold,
    check_weights,
)

PARTNERS_MAX = 100
"""Maximum number of verified partners of a content, likeliest first."""
PARTNERS_BY_SCORE = 20
"""Maximum number of partners by score and by hashes, for a content with few words."""
CONTENTS_AT_ONCE = 8
"""Contents whose partners are verified at the same time."""


class Tie(NamedTuple):
    """The kind of duplicate, of a pair."""

    score: float
    verdict: Verdict


class Member(NamedTuple):
    """A file of a group. The first file is the one to keep and has no relation; the others' is with the first."""

    path: bytes
    width: int
    height: int
    size_bytes: int
    relation: Tie | None


_EXACT = Tie(1.0, Verdict.EXACT)


class Duplicates:
    def __init__(self, library: Library, verify: Verify | None) -> None:
        self._library = library
        self._verify = verify

    def groups(self, weights: Weights, threshold: float) -> Iterator[list[Member]]:
        """Groups of at least two files, largest saving of bytes first; the same from run to run.

        Raises ValueError for invalid weights or threshold."""
        check_weights(weights)
        check_threshold(threshold)
        files, sizes = self._files()
        related = self._related(sorted(files), weights, threshold)
        pairs = [(a, b, relation) for a, b, relation in related if a in files and b in files]
        near = group(pairs, lambda content: (self._pixels(content), sizes[content], -content), sizes.__getitem__)
        grouped = {c for each in near for c in (each.representative, *(member for member, _ in each.members))}
        same: list[Group[ContentId, Tie]] = [
            Group(content, (), sizes[content])
            for content, number in files.items()
            if number > 1 and content not in grouped
        ]
        for each in sorted(near + same, key=lambda g: (-_saving(g, files, sizes), g.representative)):
            members = self._members(each)
            if len(members) > 1:  # files may be deleted meanwhile
                yield members

    def _files(self) -> tuple[Counter[ContentId], dict[ContentId, int]]:
        """The number of files of each content, and their size in bytes."""
        files: Counter[ContentId] = Counter()
        sizes: dict[ContentId, int] = {}
        with self._library.store.read() as reader:
            for _, row in reader.walk(b"/"):
                if row.content is not None:
                    files[row.content] += 1
                    sizes[row.content] = row.stat.size
        return files, sizes

    def _related(
        self, contents: Sequence[ContentId], weights: Weights, threshold: float
    ) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        if self._verify is None:
            for content, hits in self._library.index.pairs(weights, threshold):
                yield from ((content, hit.content, Tie(hit.score, Verdict.SIMILAR)) for hit in hits)
            return
        waiting = iter(contents)
        compared_with: defaultdict[ContentId, set[ContentId]] = defaultdict(set)
        while batch := list(islice(waiting, CONTENTS_AT_ONCE)):
            checks = []
            for content in batch:
                done = compared_with.pop(content, set())
                with self._library.store.read() as reader, suppress(KeyError):  # removed meanwhile
                    checks.append(self._compare(reader, content, done, weights, threshold))
                    for partner in checks[-1].partners:
                        if partner > content:
                            compared_with[partner].add(content)
            for check in checks:
                yield from check.related(weights)

    def _compare(
        self, reader: Reader, content: ContentId, done: Collection[ContentId], weights: Weights, threshold: float
    ) -> _PartnerCheck:
        """Start to verify a content's likely partners, but for ``done``. Raises KeyError for an unknown content."""
        assert self._verify is not None
        own = reader.fingerprint(content, self._library.model_id)
        same = with_same_pixels(reader, own)
        excluded = {content, *same, *done}
        likely = [each for each in self._likely(own, weights, threshold) if each not in excluded]
        partners = dict(fingerprints(self._library, reader, likely))
        verified = self._verify(own.features, [each.features for each in partners.values()]) if partners else None
        turned = {partner: each.orientations for partner, each in partners.items()}
        return _PartnerCheck(content, own.orientations, [each for each in same if each < content], turned, verified)

    def _likely(self, own: Fingerprint, weights: Weights, threshold: float) -> list[ContentId]:
        """The partners to verify, likeliest first; the content itself may be among them."""
        if not own.features:
            return []
        likely = by_words(self._library, own.features, PARTNERS_MAX)
        if may_be_faint(own, own.features):
            floor = min(threshold, PROPOSED_FROM)
            (hits,) = self._library.index.search([own.signals], weights, floor, PARTNERS_BY_SCORE)
            likely += [hit.content for hit in hits]
            likely += by_hashes(self._library, [own.signals], PARTNERS_BY_SCORE)
        return list(dict.fromkeys(likely))

    def _pixels(self, content: ContentId) -> int:
        with self._library.store.read() as reader, suppress(KeyError):
            width, height = reader.size_in_pixels(content)
            return width * height
        return 0

    def _members(self, each: Group[ContentId, Tie]) -> list[Member]:
        """Every file of the group's contents; the representative's first."""
        members: list[Member] = []
        for content, relation in ((each.representative, _EXACT), *each.members):
            with self._library.store.read() as reader, suppress(KeyError):
                width, height = reader.size_in_pixels(content)
                for path in reader.files_of(content):
                    row = reader.file(path)
                    if row is not None:
                        members.append(Member(path, width, height, row.stat.size, relation if members else None))
        return members


class _PartnerCheck(NamedTuple):
    """The verification of a content's partners."""

    content: ContentId
    orientations: tuple[Signals, ...]
    same: Sequence[ContentId]
    """contents with the same pixels and a smaller id"""
    partners: dict[ContentId, tuple[Signals, ...]]
    verified: Future[list[Verification]] | None

    def related(self, weights: Weights) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        yield from ((self.content, each, _EXACT) for each in self.same)
        verified = self.verified.result() if self.verified else []
        for (partner, orientations), found in zip(self.partners.items(), verified, strict=True):
            if found.verdict is Verdict.COPY:
                value, _ = best_orientation(self.orientations, orientations, weights)
                yield self.content, partner, Tie(value, Verdict.COPY)


def _saving(each: Group[ContentId, Tie], files: Counter[ContentId], sizes: dict[ContentId, int]) -> int:
    """Bytes of all files but the first."""
    own = (files[each.representative] - 1) * sizes[each.representative]
    return own + sum(files[member] * sizes[member] for member, _ in each.members)

"""The groups of duplicates among all that is known.

Partners are found as a query's candidates are: by the local features that they share, and where these are few, by
score. So mirrored, turned and cropped pairs are grouped, too. Geometry confirms them; files with the same bytes need no
confirmation, nor do contents with the same pixels. Only copies are grouped, for another shot of a scene is worth
keeping; with verification switched off the score alone ties.
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
from shazimd.search.query import WORDS_FEW, Verify
from shazimd.search.score import score, similarities
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
from shazimd.words.packing import unpack_words

PARTNERS_MAX = 100
"""Of the likely partners of one content so many are verified, likeliest first."""
ASKED_AT_ONCE = 8
"""Contents whose partners are verified at the same time."""


class Tie(NamedTuple):
    score: float
    verdict: Verdict


class Member(NamedTuple):
    """A file of a group; the first, which is the one to keep, has no tie."""

    path: bytes
    width: int
    height: int
    size_bytes: int
    tie: Tie | None


_EXACT = Tie(1.0, Verdict.EXACT)


class Duplicates:
    def __init__(self, library: Library, verify: Verify | None) -> None:
        self._library = library
        self._verify = verify

    def groups(self, weights: Weights, threshold: float) -> Iterator[list[Member]]:
        """Groups of at least two files, what would save most bytes first; the same from run to run.

        Raises ValueError for weights or a threshold that make no sense."""
        check_weights(weights)
        check_threshold(threshold)
        files, sizes = self._files()
        ties = self._ties(sorted(files), weights, threshold)
        pairs = [(a, b, tie) for a, b, tie in ties if a in files and b in files]
        near = group(pairs, lambda content: (self._pixels(content), sizes[content], -content), sizes.__getitem__)
        grouped = {c for each in near for c in (each.representative, *(member for member, _ in each.members))}
        same: list[Group[ContentId, Tie]] = [
            Group(content, (), sizes[content])
            for content, number in files.items()
            if number > 1 and content not in grouped
        ]
        for each in sorted(near + same, key=lambda g: (-_saving(g, files, sizes), g.representative)):
            members = self._members(each)
            if len(members) > 1:  # some may be gone by now
                yield members

    def _files(self) -> tuple[Counter[ContentId], dict[ContentId, int]]:
        """How many files each content has, and how many bytes."""
        files: Counter[ContentId] = Counter()
        sizes: dict[ContentId, int] = {}
        with self._library.store.read() as reader:
            for _, row in reader.walk(b"/"):
                if row.content is not None:
                    files[row.content] += 1
                    sizes[row.content] = row.stat.size
        return files, sizes

    def _ties(
        self, contents: Sequence[ContentId], weights: Weights, threshold: float
    ) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        if self._verify is None:
            for content, hits in self._library.index.pairs(weights, threshold):
                yield from ((content, hit.content, Tie(hit.score, Verdict.SIMILAR)) for hit in hits)
            return
        waiting = iter(contents)
        asked_by: defaultdict[ContentId, set[ContentId]] = defaultdict(set)
        while batch := list(islice(waiting, ASKED_AT_ONCE)):
            asked = []
            for content in batch:
                done = asked_by.pop(content, set())
                with self._library.store.read() as reader, suppress(KeyError):  # removed meanwhile
                    asked.append(self._ask(reader, content, done, weights, threshold))
                    for partner in asked[-1].partners:
                        if partner > content:
                            asked_by[partner].add(content)
            for each in asked:
                yield from each.ties(weights)

    def _ask(
        self, reader: Reader, content: ContentId, done: Collection[ContentId], weights: Weights, threshold: float
    ) -> _Asked:
        """Have a content compared with its likely partners but those that asked it before. Raises KeyError when it is
        unknown."""
        assert self._verify is not None
        own = reader.fingerprint(content, self._library.model_id)
        same = reader.contents_with_pixels(own.pixels) if own.pixels else []
        partners: dict[ContentId, Signals] = {}
        features = []
        for partner in self._likely(content, own, weights, threshold):
            if partner not in same and partner not in done:
                with suppress(KeyError):  # removed meanwhile
                    known = reader.fingerprint(partner, self._library.model_id)
                    partners[partner] = known.signals
                    features.append(known.features)
        verified = self._verify(own.features, features) if features else None
        return _Asked(content, own.signals, [each for each in same if each < content], partners, verified)

    def _likely(self, content: ContentId, own: Fingerprint, weights: Weights, threshold: float) -> list[ContentId]:
        """The partners to verify, likeliest first."""
        if own.low_information:
            return []
        words = unpack_words(own.features)
        likely = self._library.words.search(words, PARTNERS_MAX)
        if len(words) < WORDS_FEW:
            (hits,) = self._library.index.search([own.signals], weights, threshold, PARTNERS_MAX)
            likely = list(dict.fromkeys([*likely, *(hit.content for hit in hits)]))
        return [each for each in likely if each != content]

    def _pixels(self, content: ContentId) -> int:
        with self._library.store.read() as reader, suppress(KeyError):
            width, height = reader.size_in_pixels(content)
            return width * height
        return 0

    def _members(self, each: Group[ContentId, Tie]) -> list[Member]:
        """Every file of the group's contents; those of the representative first."""
        members: list[Member] = []
        for content, tie in ((each.representative, _EXACT), *each.members):
            with self._library.store.read() as reader, suppress(KeyError):
                width, height = reader.size_in_pixels(content)
                for path in reader.files_of(content):
                    row = reader.file(path)
                    if row is not None:
                        members.append(Member(path, width, height, row.stat.size, tie if members else None))
        return members


class _Asked(NamedTuple):
    """A content that is being compared with its likely partners."""

    content: ContentId
    signals: Signals
    same: Sequence[ContentId]
    """those with the same pixels and a smaller id"""
    partners: dict[ContentId, Signals]
    verified: Future[list[Verification]] | None

    def ties(self, weights: Weights) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        yield from ((self.content, each, _EXACT) for each in self.same)
        verified = self.verified.result() if self.verified else []
        for (partner, signals), found in zip(self.partners.items(), verified, strict=True):
            if found.verdict is Verdict.COPY:
                alike = score(similarities(self.signals, signals), weights)
                yield self.content, partner, Tie(alike, Verdict.COPY)


def _saving(each: Group[ContentId, Tie], files: Counter[ContentId], sizes: dict[ContentId, int]) -> int:
    """Bytes of all files but the first."""
    own = (files[each.representative] - 1) * sizes[each.representative]
    return own + sum(files[member] * sizes[member] for member, _ in each.members)

"""The groups of duplicates among all that is known.

Pairs that may be copies come from the index's self-join and are confirmed by geometry; files with the same bytes need
no confirmation, nor do contents with the same pixels. Only copies are grouped, for another shot of a scene is worth
keeping; with verification switched off the score alone ties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from shazimd.fingerprint.packing import unpack_words
from shazimd.pipeline.library import Library
from shazimd.pipeline.search import Verify
from shazimd.similarity.groups import Group, group
from shazimd.types import ContentId, Hit, Verdict, Weights

PARTNERS_MAX = 30
"""Of the pairs of one content so many are verified, best score first."""
WORDS_SHARED_MIN = 3
WORDS_FEW = 32
JOINED_AT_ONCE = 32
"""Contents whose pairs are verified at the same time."""


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
        files, sizes = self._files()
        pairs = [(a, b, tie) for a, b, tie in self._ties(weights, threshold) if a in files and b in files]
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

    def _ties(self, weights: Weights, threshold: float) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        joined = ((content, hits) for content, hits in self._library.index.pairs(weights, threshold) if hits)
        while batch := list(islice(joined, JOINED_AT_ONCE)):
            yield from self._confirmed(batch)

    def _confirmed(self, batch: list[tuple[ContentId, list[Hit]]]) -> Iterator[tuple[ContentId, ContentId, Tie]]:
        if self._verify is None:
            for content, hits in batch:
                yield from ((content, hit.content, Tie(hit.score, Verdict.SIMILAR)) for hit in hits)
            return
        asked = []
        for content, hits in batch:
            partners = hits[:PARTNERS_MAX]
            features = self._features([content, *(hit.content for hit in partners)])
            if content in features:
                known = [hit for hit in partners if _share_words(features[content], features.get(hit.content, b""))]
                verified = self._verify(features[content], [features[hit.content] for hit in known])
                asked.append((content, known, verified))
        for content, known, verified in asked:
            for hit, verification in zip(known, verified.result(), strict=True):
                if self._same_pixels(content, hit.content):
                    yield content, hit.content, _EXACT
                elif verification.verdict is Verdict.COPY:
                    yield content, hit.content, Tie(hit.score, Verdict.COPY)

    def _features(self, contents: Iterable[ContentId]) -> dict[ContentId, bytes]:
        features = {}
        with self._library.store.read() as reader:
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    features[content] = reader.features(content)
        return features

    def _same_pixels(self, one: ContentId, other: ContentId) -> bool:
        with self._library.store.read() as reader:
            pixels = reader.pixels(one)
            return pixels is not None and pixels == reader.pixels(other)

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


def _share_words(one: bytes, other: bytes) -> bool:
    """Whether two pictures have enough local features in common, or too few to tell, to be worth verifying.

    A copy shares dozens of its 128 words, chance hardly two of 65,536."""
    a, b = set(unpack_words(one).tolist()), set(unpack_words(other).tolist())
    return min(len(a), len(b)) < WORDS_FEW or len(a & b) >= WORDS_SHARED_MIN


def _saving(each: Group[ContentId, Tie], files: Counter[ContentId], sizes: dict[ContentId, int]) -> int:
    """Bytes of all files but the first."""
    own = (files[each.representative] - 1) * sizes[each.representative]
    return own + sum(files[member] * sizes[member] for member, _ in each.members)

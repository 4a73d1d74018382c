"""A query's way through: exact lookups, candidates, verification, verdicts, paths.

A candidate is proposed by its score, in any of the query's orientations, or by the local features that it shares with
the query. Those that geometry confirms match whatever their score; others match where their score reaches the
threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple

from shazimd.fingerprint.packing import unpack_words
from shazimd.pipeline.library import Library
from shazimd.similarity.score import score, similarities
from shazimd.types import (
    ContentId,
    Fingerprint,
    Hit,
    Match,
    Query,
    Signals,
    Similarities,
    Verdict,
    Verification,
    Weights,
)

BY_SCORE = 10
BY_WORDS = 20
"""Candidates for verification, by score and by shared local features; see benchmarks/quality/README.md."""

PROPOSED_FROM = 0.6
"""The least score that proposes: below it lie 99 of 100 pairs that have nothing in common (benchmarks/index.md)."""
MORE = 8
"""Where a limit was too small, since contents had no file to be named, so many times more are searched for."""

SAME = Similarities(1.0, 1.0, 1.0)
_STRENGTH = {verdict: strength for strength, verdict in enumerate(Verdict)}

Verify = Callable[[bytes, Sequence[bytes]], "Future[list[Verification]]"]
"""Compares a query's local features with those of candidates, elsewhere."""


Admit = Callable[[bytes], bool]
"""Which of a content's files may be named in an answer."""


class Search:
    def __init__(self, library: Library, verify: Verify | None) -> None:
        self._library = library
        self._verify = verify

    def matches(
        self,
        query: Query,
        content: ContentId | None,
        *,
        weights: Weights,
        threshold: float,
        limit: int | None = None,
        admit: Admit | None = None,
    ) -> list[Match]:
        """The known image files that match, strongest verdict first, then best score, then content and path.

        ``content`` is the content with the query's bytes, if there is one. Raises ValueError for weights or a threshold
        that make no sense. With a ``limit``, time and memory do not grow with what lies over the threshold."""
        exact = self._exact(query, content)
        ranked = self._ranked(query, weights, threshold, limit)
        nearest = list(islice(ranked, BY_SCORE))
        proposed = [hit for hit in self._proposed(query, nearest, weights) if hit.content not in exact]
        verified = self._verifications(query, [hit.content for hit in proposed])
        sure = [_Judged(Hit(same, 1.0, SAME), Verdict.EXACT, None) for same in exact]
        sure += [
            _Judged(hit, found.verdict, found)
            for hit in proposed
            if (found := verified.get(hit.content)) and found.verdict
        ]
        sure.sort(key=lambda j: (_STRENGTH[j.verdict], -j.hit.score, j.hit.content))
        told = {j.hit.content for j in sure}
        similar = (
            _Judged(hit, Verdict.SIMILAR, verified.get(hit.content))
            for hit in chain(nearest, ranked)
            if hit.score >= threshold and hit.content not in told
        )
        return list(islice(self._files(chain(sure, similar), admit), limit))

    def compare(
        self, query: Query, other: Fingerprint, *, same_bytes: bool, weights: Weights, threshold: float
    ) -> Comparison:
        """What two pictures are to each other."""
        pixels = query.fingerprint.pixels
        if same_bytes or (pixels is not None and pixels == other.pixels):
            return Comparison(1.0, SAME, Verdict.EXACT, None)
        _, best, pair = _hit(0, query, other.signals, weights)
        verification = None
        if self._verify and query.features and other.features:
            (verification,) = self._verify(query.features, [other.features]).result()
        verdict = verification.verdict if verification else None
        if verdict is None and best >= threshold and not (query.fingerprint.low_information or other.low_information):
            verdict = Verdict.SIMILAR
        return Comparison(best, pair, verdict, verification)

    def _exact(self, query: Query, content: ContentId | None) -> set[ContentId]:
        pixels = query.fingerprint.pixels
        with self._library.store.read() as reader:
            same = set(reader.contents_with_pixels(pixels)) if pixels else set()
        return same | {content} if content else same

    def _ranked(self, query: Query, weights: Weights, threshold: float, limit: int | None) -> Iterator[Hit]:
        """Every content at or over the threshold, best score first, searched for as far as it is read.

        The first BY_SCORE may lie below it: they are what the score proposes."""
        if query.fingerprint.low_information:
            return
        floor = min(threshold, PROPOSED_FROM) if self._verify else threshold
        size: int | None = BY_SCORE
        seen: set[ContentId] = set()
        while True:
            best = self._best(query, weights, floor, size)
            yield from (hit for hit in best if hit.content not in seen)
            if size is None or len(best) < size or best[-1].score < threshold:
                return
            seen.update(hit.content for hit in best)
            floor = threshold
            size = None if limit is None else max(limit, MORE * size)

    def _best(self, query: Query, weights: Weights, floor: float, size: int | None) -> list[Hit]:
        """The ``size`` contents (None: all) with the best score in any orientation, from ``floor`` on, best first."""
        index = self._library.index
        (upright,) = index.search(query.orientations[:1], weights, floor, size)
        if len(upright) == size:
            floor = upright[-1].score  # so many reach it: what is less in another orientation is not among them
        turned = index.search(query.orientations[1:], weights, floor, size)
        best: dict[ContentId, Hit] = {}
        for hit in sorted(chain(upright, *turned), key=lambda hit: (-hit.score, hit.content)):
            best.setdefault(hit.content, hit)
        return list(islice(best.values(), size))

    def _proposed(self, query: Query, nearest: Sequence[Hit], weights: Weights) -> list[Hit]:
        """Those to verify: what shares local features with the query, then what its score proposes."""
        if not self._verify or not query.features or query.fingerprint.low_information:
            return []
        known = {hit.content: hit for hit in nearest}
        by_words = self._library.words.search(unpack_words(query.features), BY_WORDS)
        known |= self._scored(query, [content for content in by_words if content not in known], weights)
        return [known[content] for content in dict.fromkeys([*by_words, *known]) if content in known]

    def _scored(self, query: Query, contents: Iterable[ContentId], weights: Weights) -> dict[ContentId, Hit]:
        hits = {}
        with self._library.store.read() as reader:
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    signals = reader.fingerprint(content, self._library.model_id).signals
                    hits[content] = _hit(content, query, signals, weights)
        return hits

    def _verifications(self, query: Query, contents: Sequence[ContentId]) -> dict[ContentId, Verification]:
        if not self._verify or not contents:
            return {}
        features: dict[ContentId, bytes] = {}
        with self._library.store.read() as reader:
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    features[content] = reader.features(content)
        return dict(zip(features, self._verify(query.features, list(features.values())).result(), strict=True))

    def _files(self, judged: Iterable[_Judged], admit: Admit | None) -> Iterator[Match]:
        for hit, verdict, verification in judged:
            with self._library.store.read() as reader:
                paths = reader.files_of(hit.content)
                width, height = reader.size_in_pixels(hit.content) if paths else (0, 0)
            for path in filter(admit, paths):  # one at a time: admitting looks at the disk, and a limit may end it
                yield Match(path, hit.content, hit.score, hit.similarities, verdict, width, height, verification)


class Comparison(NamedTuple):
    score: float
    similarities: Similarities
    verdict: Verdict | None
    verification: Verification | None


class _Judged(NamedTuple):
    hit: Hit
    verdict: Verdict
    verification: Verification | None


def _hit(content: ContentId, query: Query, signals: Signals, weights: Weights) -> Hit:
    pairs = [similarities(orientation, signals) for orientation in query.orientations]
    return max((Hit(content, score(pair, weights), pair) for pair in pairs), key=lambda hit: hit.score)

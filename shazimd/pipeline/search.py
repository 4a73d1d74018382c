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
        that make no sense."""
        exact = self._exact(query, content)
        hits = [hit for hit in self._candidates(query, weights, threshold) if hit.content not in exact]
        verified = self._verifications(query, [hit.content for hit in hits])
        judged = [_judge(hit, verified.get(hit.content)) for hit in hits]
        judged = [j for j in judged if j.hit.score >= threshold or j.verdict is not Verdict.SIMILAR]
        judged += [_Judged(Hit(same, 1.0, SAME), Verdict.EXACT, None) for same in exact]
        judged.sort(key=lambda j: (_STRENGTH[j.verdict], -j.hit.score, j.hit.content))
        return list(islice(self._files(judged, admit), limit))

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

    def _candidates(self, query: Query, weights: Weights, threshold: float) -> list[Hit]:
        """Those to verify first, then all others at or over the threshold; each with the best score of all
        orientations."""
        if query.fingerprint.low_information:
            return []
        index = self._library.index
        over = _best(index.search(query.orientations, weights, threshold))
        if not self._verify:
            return list(over.values())
        by_words = self._library.words.search(unpack_words(query.features), BY_WORDS)
        nearest = _best(index.search(query.orientations, weights, 0.0, BY_SCORE))
        unscored = [content for content in by_words if content not in over and content not in nearest]
        proposed = self._scored(query, unscored, weights) | nearest | over
        first = [*by_words, *list(nearest)[:BY_SCORE]]
        return [proposed[content] for content in dict.fromkeys([*first, *over]) if content in proposed]

    def _scored(self, query: Query, contents: Iterable[ContentId], weights: Weights) -> dict[ContentId, Hit]:
        hits = {}
        with self._library.store.read() as reader:
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    signals = reader.fingerprint(content, self._library.model_id).signals
                    hits[content] = _hit(content, query, signals, weights)
        return hits

    def _verifications(self, query: Query, contents: list[ContentId]) -> dict[ContentId, Verification]:
        if not self._verify or not query.features:
            return {}
        features: dict[ContentId, bytes] = {}
        with self._library.store.read() as reader:
            for content in contents[: BY_SCORE + BY_WORDS]:
                with suppress(KeyError):  # removed meanwhile
                    features[content] = reader.features(content)
        return dict(zip(features, self._verify(query.features, list(features.values())).result(), strict=True))

    def _files(self, judged: Iterable[_Judged], admit: Admit | None) -> Iterator[Match]:
        for hit, verdict, verification in judged:
            with self._library.store.read() as reader:
                paths = list(filter(admit, reader.files_of(hit.content)))
                width, height = reader.size_in_pixels(hit.content) if paths else (0, 0)
            for path in paths:
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


def _best(answers: Iterable[Iterable[Hit]]) -> dict[ContentId, Hit]:
    """The best hit of each content, best score first."""
    best: dict[ContentId, Hit] = {}
    for hit in sorted(chain.from_iterable(answers), key=lambda hit: (-hit.score, hit.content)):
        best.setdefault(hit.content, hit)
    return best


def _hit(content: ContentId, query: Query, signals: Signals, weights: Weights) -> Hit:
    pairs = [similarities(orientation, signals) for orientation in query.orientations]
    return max((Hit(content, score(pair, weights), pair) for pair in pairs), key=lambda hit: hit.score)


def _judge(hit: Hit, verification: Verification | None) -> _Judged:
    verdict = verification.verdict if verification else None
    return _Judged(hit, verdict or Verdict.SIMILAR, verification)

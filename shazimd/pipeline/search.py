"""A query's way through: exact lookups, candidates from the index, verification, verdicts, paths.

Candidates are asked for at a lower bar than the threshold, in all orientations of the query. Those that geometry
confirms match whatever their score; the others match where their score reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, islice
from typing import NamedTuple

from shazimd.pipeline.library import Library
from shazimd.similarity.score import score, similarities
from shazimd.types import (
    ContentId,
    Fingerprint,
    Hit,
    Match,
    Query,
    Similarities,
    Verdict,
    Verification,
    Weights,
)

CANDIDATE_BAR = 0.6
"""Candidates for verification are asked for down to this score."""
CANDIDATES_MAX = 30
"""How many candidates are verified, best score first."""

SAME = Similarities(1.0, 1.0, 1.0)
_STRENGTH = {verdict: strength for strength, verdict in enumerate(Verdict)}

Verify = Callable[[Query, Sequence[bytes]], "Future[list[Verification]]"]
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
        verified = self._verifications(query, hits)
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
        scored = [(pair, score(pair, weights)) for pair in (similarities(o, other.signals) for o in query.orientations)]
        pair, best = max(scored, key=lambda item: item[1])
        verification = None
        if self._verify and query.fingerprint.features and other.features:
            (verification,) = self._verify(query, [other.features]).result()
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
        """The best of all orientations for each content: everything at or over the threshold, and below it as many as
        verification may confirm."""
        if query.fingerprint.low_information:
            return []
        index = self._library.index
        answers = index.search(query.orientations, weights, threshold)
        if self._verify:
            bar = min(CANDIDATE_BAR, threshold)
            answers += index.search(query.orientations, weights, bar, CANDIDATES_MAX)
        best: dict[ContentId, Hit] = {}
        for hit in chain.from_iterable(answers):
            if hit.content not in best or hit.score > best[hit.content].score:
                best[hit.content] = hit
        return sorted(best.values(), key=lambda hit: (-hit.score, hit.content))

    def _verifications(self, query: Query, hits: list[Hit]) -> dict[ContentId, Verification]:
        if not self._verify or not query.fingerprint.features:
            return {}
        with self._library.store.read() as reader:
            features = {hit.content: reader.features(hit.content) for hit in hits[:CANDIDATES_MAX]}
        chosen = {content: packed for content, packed in features.items() if packed}
        if not chosen:
            return {}
        return dict(zip(chosen, self._verify(query, list(chosen.values())).result(), strict=True))

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


def _judge(hit: Hit, verification: Verification | None) -> _Judged:
    verdict = verification.verdict if verification else None
    return _Judged(hit, verdict or Verdict.SIMILAR, verification)

"""A query's way through: exact lookups, candidates, verification, verdicts, paths.

A candidate is proposed by the local features that it shares with the query, or by its score in any of the query's
orientations: from the threshold on, and from less where the query has few features. Those that geometry confirms match
whatever their score; others match where their score reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple, TypeAlias

from shazimd.search.library import Library
from shazimd.search.score import score, similarities
from shazimd.types import (
    ContentId,
    Digest,
    Fingerprint,
    Hit,
    Match,
    Query,
    Signals,
    Similarities,
    Stat,
    Verdict,
    Verification,
    Weights,
)
from shazimd.words.packing import unpack_words

BY_SCORE = 10
BY_WORDS = 20
"""Most candidates for verification, by score and by shared local features; see benchmarks/quality/README.md."""

PROPOSED_FROM = 0.6
"""The least score that proposes: below it lie 99 of 100 pairs that have nothing in common (benchmarks/index.md)."""
WORDS_FEW = 32
"""With fewer words a query may not be told by those that it shares, so a score below the threshold proposes, too."""
TOGETHER = 4
"""Candidates verified in one job: few, for all workers to share them, and more, for a job's own cost to be small."""
MORE = 8
"""Where a limit was too small, since contents had no file to be named, so many times more are searched for."""

SAME = Similarities(1.0, 1.0, 1.0)
_STRENGTH = {verdict: strength for strength, verdict in enumerate(Verdict)}

Verify = Callable[[bytes, Sequence[bytes]], "Future[list[Verification]]"]
"""Compares a query's local features with those of candidates, elsewhere."""


Admit = Callable[[bytes, Stat, Digest], bool]
"""Whether a file may be named in an answer: its path, and the stat and digest that the store has."""


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
        exact: Set[ContentId] | None = None,
    ) -> list[Match]:
        """The known image files that match, strongest verdict first, then best score, then content and path.

        ``content`` is the content with the query's bytes, if there is one; ``exact`` the contents with its bytes or
        pixels, looked up here if not given. Raises ValueError for weights or a threshold
        that make no sense. With a ``limit``, time and memory do not grow with what lies over the threshold."""
        exact = self._exact(query, content) if exact is None else exact
        by_words = self._by_words(query, exact, weights)
        verified = self._verified(query, by_words)  # in the workers, while this thread searches by score
        ranked = self._ranked(query, weights, threshold, limit)
        nearest = list(islice(ranked, BY_SCORE))
        known = exact | {hit.content for hit, _ in by_words}
        by_score = self._by_score(query, [hit for hit in nearest if hit.content not in known])
        judged = list(chain(verified, self._verified(query, by_score)))
        verifications = {hit.content: found for hit, found in judged}
        sure = [_Judged(Hit(same, 1.0, SAME), Verdict.EXACT, None) for same in exact]
        sure += [_Judged(hit, found.verdict, found) for hit, found in judged if found.verdict]
        sure.sort(key=lambda j: (_STRENGTH[j.verdict], -j.hit.score, j.hit.content))
        told = {j.hit.content for j in sure}
        similar = (
            _Judged(hit, Verdict.SIMILAR, verifications.get(hit.content))
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

        Where words are few, the first BY_SCORE may lie below it: they are what the score proposes."""
        if query.fingerprint.low_information:
            return
        proposes = self._can_verify(query) and len(unpack_words(query.features)) < WORDS_FEW
        floor = min(threshold, PROPOSED_FROM) if proposes else threshold
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

    def _by_words(self, query: Query, exact: Collection[ContentId], weights: Weights) -> list[_Candidate]:
        """Contents that stand out by the local features that they share with the query."""
        if not self._can_verify(query):
            return []
        candidates: list[_Candidate] = []
        found = self._library.words.search(unpack_words(query.features), BY_WORDS)
        with self._library.store.read() as reader:
            for content in found:
                if content not in exact:
                    with suppress(KeyError):  # removed meanwhile
                        known = reader.fingerprint(content, self._library.model_id)
                        candidates.append((_hit(content, query, known.signals, weights), known.features))
        return candidates

    def _by_score(self, query: Query, hits: Iterable[Hit]) -> list[_Candidate]:
        """Those that were found by their score."""
        if not self._can_verify(query):
            return []
        candidates: list[_Candidate] = []
        with self._library.store.read() as reader:
            for hit in hits:
                with suppress(KeyError):  # removed meanwhile
                    candidates.append((hit, reader.features(hit.content)))
        return candidates

    def _can_verify(self, query: Query) -> bool:
        return self._verify is not None and bool(query.features) and not query.fingerprint.low_information

    def _verified(self, query: Query, candidates: Sequence[_Candidate]) -> Iterator[tuple[Hit, Verification]]:
        """What geometry says of each: asked for at once, waited for when it is read."""
        if self._verify is None:
            return iter(())
        parts = [candidates[start : start + TOGETHER] for start in range(0, len(candidates), TOGETHER)]
        asked = [(part, self._verify(query.features, [features for _, features in part])) for part in parts]
        return ((hit, found) for part, future in asked for (hit, _), found in zip(part, future.result(), strict=True))

    def _files(self, judged: Iterable[_Judged], admit: Admit | None) -> Iterator[Match]:
        for hit, verdict, verification in judged:
            with self._library.store.read() as reader:
                paths = reader.files_of(hit.content)
                width, height = reader.size_in_pixels(hit.content) if paths else (0, 0)
                if paths and admit:
                    digest, rows = reader.digest(hit.content), {path: reader.file(path) for path in paths}
            for path in paths:  # one at a time: admitting looks at the disk, and a limit may end it
                if admit and ((row := rows[path]) is None or not admit(path, row.stat, digest)):
                    continue
                yield Match(path, hit.content, hit.score, hit.similarities, verdict, width, height, verification)


class Comparison(NamedTuple):
    score: float
    similarities: Similarities
    verdict: Verdict | None
    verification: Verification | None


_Candidate: TypeAlias = tuple[Hit, bytes]
"""A content, with its local features."""


class _Judged(NamedTuple):
    hit: Hit
    verdict: Verdict
    verification: Verification | None


def _hit(content: ContentId, query: Query, signals: Signals, weights: Weights) -> Hit:
    pairs = [similarities(orientation, signals) for orientation in query.orientations]
    return max((Hit(content, score(pair, weights), pair) for pair in pairs), key=lambda hit: hit.score)

"""Searches: exact lookups, candidates, verification, verdicts, paths.

Candidates are contents that share local features with the query, the nearest by a vector made for copies, and contents
with a high score in any of the query's orientations: from the threshold on, and from less for a query of few features.
Verified candidates match at any score; other contents match from the threshold on. Low-information pictures have
meaningless scores: these may propose them as candidates, but only bytes, pixels and verification make them match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple, Protocol, TypeAlias

from shazimd.fingerprint import Appearance, Fingerprint, Query
from shazimd.search.candidates import (
    BY_SCORE,
    Ahead,
    ahead_of_points,
    by_hashes,
    by_negative,
    by_own_words,
    by_vector,
    in_turn,
    over_threshold,
    with_negated,
    with_same_pixels,
    words_may_miss,
)
from shazimd.search.fetching import Fetch
from shazimd.search.rivals import settled, settled_pair
from shazimd.search.scope import OWN, Known, Scope, Scoped
from shazimd.search.score import best_orientation, confirmed, least_of, stands_out
from shazimd.text import SIGNALS
from shazimd.types import ContentId, Digest, Hit, Match, Similarities, Stat, Verdict, Verification, Weights

BY_WORDS = 20
"""Number of candidates by shared words that are verified first; see benchmarks/quality/README.md."""
CROWD = 5
"""Variants or scenes of one query from which on none of them stands out: pictures of one template."""
CANDIDATES_MAX = 60
"""Maximum number of candidates where most are copies or variants: 43 copies of one picture are all found."""

JOB_CANDIDATES = 4
"""Candidates in one verification job: few enough for all workers to share, enough to outweigh the cost of a job."""
ALONE, ALONE_FROM = 4, 0.7
"""So many of the likeliest candidates, and those with at least this score, have a job each. Most are copies: one takes
as long as five other pictures, and several in one job are also compared with each other, which the store mostly knows.
"""
FILES_TRIED = (1, 8, 100)
"""Files of a content that are offered to ``admit``: one at first, since it is mostly admitted, then more."""

IDENTICAL = Similarities([1.0] * len(SIGNALS))
_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}
_ALIKE = (Verdict.COPY, Verdict.VARIANT)


class StartedVerification(Protocol):
    """Comparisons that were started."""

    def result(self) -> list[Verification]:
        """Wait for the answers, in the order of the candidates. Raises WorkerFailed."""


Verify = Callable[[bytes, Sequence[bytes]], StartedVerification]
"""Compares a query's local features with each candidate's, in a worker."""

Admit = Callable[[bytes, Stat, Digest], bool]
"""Whether a file may be named in an answer: its path, and the stat and digest that the store has."""


class Search:
    def __init__(
        self,
        library: Known,
        verify: Verify | None,
        later: Verify | None = None,
        scope: Scope = OWN,
        passed_over: Sequence[ContentId] = (),
    ) -> None:
        """``later``: as ``verify``, after the work that others wait for. ``scope``, ``passed_over``: see ``within``."""
        self._library = library
        self._verify = verify
        self._later = later
        self._scope = scope
        self._passed_over = passed_over

    def in_background(self) -> Search:
        """A search that leaves the workers to questions and new files."""
        return Search(self._library, self._later or self._verify)

    def within(self, scope: Scope) -> Search:
        """A search whose candidates are the contents in ``scope``, for one question. Contents out of scope take none of
        their places; with ``admit``, none of them is a match."""
        scoped = Scoped(self._library, scope)
        return Search(scoped, self._verify, self._later, scope, scoped.passed_over)

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
        fetch: Fetch | None = None,
        ahead: Ahead | None = None,
    ) -> list[Match]:
        """The known image files that match: strongest verdict first, then most inliers, best score, content and path.

        ``content`` is the content with the query's bytes, if known; ``exact`` the contents with its bytes or pixels,
        looked up if not given. With ``admit``, each content is named by a single file, the first admitted in scope
        (of this host, if not said); without, by all its files. Pairs that lack a vector must reach
        ``least_of``. ``fetch`` brings features of candidates that are not kept here; ``ahead`` is of the same query,
        weights and threshold. Raises ValueError for invalid weights or threshold. With a ``limit``, time and memory do
        not grow with the number of contents over the threshold."""
        least = least_of(query.fingerprint.signals.fv is not None, weights, threshold)
        exact = self._exact(query, content) if exact is None else exact
        proposes = self._can_verify(query)
        ranked = over_threshold(self._library, query, weights, least, limit, ahead, proposes=proposes)
        nearest: list[Hit] = []
        verified = self._verify_candidates(query, exact, weights, ranked, nearest, fetch, ahead)
        if self._passed_over and any(found.verdict is Verdict.COPY for _, found in verified):
            # They are rivals: of two variants, one in scope, the query may be a copy of the other.
            rivals = self._among(query, self._passed_over, set(exact), weights)
            verified += self._verified(query, islice(rivals, BY_WORDS))
        if self._verify:
            verified = settled(self._library.store, self._verify, query, verified)
        sure = _sure(exact, verified)
        faint = query.fingerprint.low_information
        similar = () if faint else _similar(sure, verified, chain(nearest, ranked), weights, threshold)
        level = max(least, nearest[-1].score if len(nearest) >= BY_SCORE else 0.0)
        around = _Neighbourhood(level, _crowds(sure))
        return list(islice(self._files(chain(sure, similar), admit, around), limit))

    def ahead(self, query: Query, weights: Weights, threshold: float) -> Ahead:
        """For ``matches``, of a query whose points are still to come. Raises ValueError as ``matches``."""
        least = least_of(query.fingerprint.signals.fv is not None, weights, threshold)
        return ahead_of_points(self._library, query, weights, least)

    def exact_matches(self, exact: Set[ContentId], admit: Admit) -> Iterator[Match]:
        """The contents among ``exact`` with an admitted file, each named by it, in order."""
        hits = (Hit(same, 1.0, IDENTICAL) for same in sorted(exact))
        return self._files((_Judged(hit, Verdict.EXACT, None) for hit in hits), admit)

    def compare(
        self, query: Query, other: Fingerprint, *, same_bytes: bool, weights: Weights, threshold: float
    ) -> Comparison:
        """Compare two pictures, by the verification that ``matches`` uses."""
        pixels = query.fingerprint.pixels
        if same_bytes or (pixels is not None and pixels == other.pixels):
            return Comparison(1.0, IDENTICAL, Verdict.EXACT, None)
        best, pair = best_orientation(query.orientations, other.orientations, weights)
        verification = None
        if self._verify and query.features and other.features:
            (found,) = self._verify(query.features, [other.features]).result()
            verification = confirmed(found, pair.dfv, self._library.copy_from)
            if verification.verdict is Verdict.COPY:
                verification = settled_pair(self._library, self._verify, query, other, verification)
        verdict = verification.verdict if verification else None
        is_over = best >= least_of(pair.dfv is not None, weights, threshold)
        if verdict is None and is_over and not (query.fingerprint.low_information or other.low_information):
            verdict = Verdict.SIMILAR
        return Comparison(best, pair, verdict, verification)

    def _exact(self, query: Query, content: ContentId | None) -> set[ContentId]:
        with self._library.store.read() as reader:
            same = set(with_same_pixels(reader, query.fingerprint))
        return same | {content} if content else same

    def _verify_candidates(
        self,
        query: Query,
        exact: Set[ContentId],
        weights: Weights,
        ranked: Iterator[Hit],
        nearest: list[Hit],
        fetch: Fetch | None,
        ahead: Ahead | None,
    ) -> list[_Judgement]:
        """Verify candidates by words, then by score. Hits taken from ``ranked`` are added to ``nearest``."""
        if not self._can_verify(query):
            nearest.extend(islice(ranked, BY_SCORE))
            return []
        tried = set(exact)
        # All this is verified in the workers, as it is found, while this thread searches on.
        likely = by_own_words(self._library, query.features, CANDIDATES_MAX, exact)
        likeliest = self._verified(query, self._among(query, likely[:ALONE], tried, weights), together=1)
        with_negatives = with_negated(self._library, query.features, likely, CANDIDATES_MAX)
        sharing = self._among(query, with_negatives, tried, weights)
        first = self._verified(query, islice(sharing, BY_WORDS + len(exact) - len(tried)))
        nearest.extend(islice(ranked, BY_SCORE))
        alike = by_vector(self._library, query.orientations[0]) if ahead is None else ahead.alike
        closest = chain(alike, (hit.content for hit in nearest), self._by_hashes(query))
        by_score = self._verified(query, self._among(query, closest, tried, weights), fetch)
        judged = self._go_on(query, [*likeliest, *first], sharing, fetch)
        judged += list(by_score)
        over = (hit.content for hit in _recorded(ranked, nearest))
        further = self._among(query, chain(over, self._crowd(query, exact)), tried, weights)
        return self._go_on(query, judged, further, fetch)

    def _go_on(
        self, query: Query, judged: list[_Judgement], further: Iterator[_Candidate], fetch: Fetch | None
    ) -> list[_Judgement]:
        """The judged candidates, and further ones while at least half of the last are copies or variants: a picture
        with many copies or one template has more of them than are verified first."""
        last = judged
        while last and len(judged) < CANDIDATES_MAX and 2 * sum(f.verdict in _ALIKE for _, f in last) >= len(last):
            last = list(self._verified(query, islice(further, BY_SCORE), fetch))
            judged = judged + last
        return judged

    def _by_hashes(self, query: Query) -> list[ContentId]:
        """Low-information candidates with hashes like the query's, and others with hashes like its negative's, for a
        query whose words may miss copies."""
        if not words_may_miss(query.fingerprint, query.features):
            return []
        likely = by_hashes(self._library, query.orientations, BY_SCORE)
        return likely + by_negative(self._library, query.fingerprint, BY_SCORE)

    def _crowd(self, query: Query, exact: Set[ContentId]) -> Iterator[ContentId]:
        """Further candidates, once most of the verified are alike: all of one template share so many words that chance
        seems to explain them, the more so beside a picture that shares most; words and the vector still rank them."""
        by_words = by_own_words(self._library, query.features, CANDIDATES_MAX, exact, is_crowded=True)
        yield from in_turn(by_words, by_vector(self._library, query.orientations[0], CANDIDATES_MAX))

    def _among(
        self, query: Query, contents: Iterable[ContentId], tried: set[ContentId], weights: Weights
    ) -> Iterator[_Candidate]:
        """Candidates among these contents, read lazily, but for those in ``tried``; added there."""
        for content in contents:
            if content in tried:
                continue
            tried.add(content)
            with suppress(KeyError):  # removed meanwhile
                with self._library.store.read() as reader:
                    known = reader.fingerprint(content, self._library.model_id)
                score, similar = best_orientation(query.orientations, known.orientations, weights)
                yield Hit(content, score, similar), known.features

    def _can_verify(self, query: Query) -> bool:
        return self._verify is not None and bool(query.features)

    def _verified(
        self, query: Query, candidates: Iterable[_Candidate], fetch: Fetch | None = None, together: int = JOB_CANDIDATES
    ) -> Iterator[_Judgement]:
        """Verify candidates, so many in a job: each job starts once its candidates are read, and each result is awaited
        when read."""
        if self._verify is None:
            return iter(())
        if fetch:
            candidates = list(candidates)
            lacking = [hit.content for hit, features in candidates if not features]
            fetched = fetch(lacking) if lacking else {}
            candidates = [(hit, features or fetched.get(hit.content, b"")) for hit, features in candidates]
        parts = _parts(candidates, together)
        jobs = [(part, self._verify(query.features, [features for _, features in part])) for part in parts]
        border = self._library.copy_from
        return (
            (hit, confirmed(found, hit.similarities.dfv, border))
            for part, job in jobs
            for (hit, _), found in zip(part, job.result(), strict=True)
        )

    def _files(
        self,
        judged: Iterable[_Judged],
        admit: Admit | None,
        around: _Neighbourhood | None = None,
    ) -> Iterator[Match]:
        for hit, verdict, verification in judged:
            named = self._named(hit.content) if admit is None else self._admitted(hit.content, admit)
            for path in named.paths:
                yield Match(
                    *(path, hit.content, hit.score, hit.similarities, verdict, named.seen.width, named.seen.height),
                    verification=verification,
                    damaged=named.seen.damaged,
                    stands_out=around is None or (verdict not in around.crowds and stands_out(hit.score, around.level)),
                )

    def _named(self, content: ContentId) -> _Named:
        with self._library.store.read() as reader:
            paths = reader.files_of(content) + reader.files_of(content, foreign=True)
            return _Named(paths, reader.appearance(content)) if paths else _NONE

    def _admitted(self, content: ContentId, admit: Admit) -> _Named:
        """The first admitted file of a content in scope, if any.

        ``admit`` looks at the disk, outside of any transaction."""
        tried: set[bytes] = set()
        for limit in FILES_TRIED:
            with self._library.store.read() as reader:
                files = self._scope.files(reader, content, limit)
                if not files:
                    break
                seen, digest = reader.appearance(content), reader.digest(content)
            for path, row in files:
                if path not in tried and admit(path, row.stat, digest):
                    return _Named([path], seen)
                tried.add(path)
            if len(files) < limit:
                break
        return _NONE


class _Named(NamedTuple):
    """Files of a content, and how its picture looks."""

    paths: Sequence[bytes]
    seen: Appearance


_NONE = _Named((), Appearance(0, 0, "", False))


class Comparison(NamedTuple):
    score: float
    similarities: Similarities
    verdict: Verdict | None
    verification: Verification | None


_Candidate: TypeAlias = tuple[Hit, bytes]
"""A content and its local features."""

_Judgement: TypeAlias = tuple[Hit, Verification]
"""A content and the result of its verification."""


def _parts(candidates: Iterable[_Candidate], together: int) -> Iterator[list[_Candidate]]:
    """So many candidates together, those with a high score each by itself: the jobs."""
    part: list[_Candidate] = []
    for candidate in candidates:
        if candidate[0].score >= ALONE_FROM:
            yield [candidate]
            continue
        part.append(candidate)
        if len(part) == together:
            yield part
            part = []
    if part:
        yield part


class _Neighbourhood(NamedTuple):
    level: float
    """the score that other contents have with the query"""
    crowds: Set[Verdict]
    """verdicts of so many contents that none of them is news"""


class _Judged(NamedTuple):
    hit: Hit
    verdict: Verdict
    verification: Verification | None


def _strength(judged: _Judged) -> tuple[int, int, float, ContentId]:
    """The sort key of verified matches. Inliers come before the score: around a screenshot the score says little, and
    the original has more inliers than a picture of the same template."""
    inliers = judged.verification.inliers if judged.verification else 0
    return _RANK[judged.verdict], -inliers, -judged.hit.score, judged.hit.content


def _sure(exact: Iterable[ContentId], verified: Iterable[_Judgement]) -> list[_Judged]:
    """The contents with a verdict, strongest first."""
    sure = [_Judged(Hit(same, 1.0, IDENTICAL), Verdict.EXACT, None) for same in exact]
    sure += [_Judged(hit, found.verdict, found) for hit, found in verified if found.verdict]
    return sorted(sure, key=_strength)


def _similar(
    sure: Iterable[_Judged], verified: Iterable[_Judgement], hits: Iterable[Hit], weights: Weights, threshold: float
) -> Iterator[_Judged]:
    """The hits over the threshold without a verdict, in their order, read lazily."""
    listed = {judged.hit.content for judged in sure}
    tried = {hit.content: (hit, found) for hit, found in verified}
    for near in hits:
        hit, found = tried.get(near.content, (near, None))
        least = least_of(hit.similarities.dfv is not None, weights, threshold)
        if hit.score >= least and hit.content not in listed:
            yield _Judged(hit, Verdict.SIMILAR, found)


def _crowds(sure: Iterable[_Judged]) -> Set[Verdict]:
    counts = Counter(judged.verdict for judged in sure)
    return {verdict for verdict in (Verdict.VARIANT, Verdict.SCENE) if counts[verdict] >= CROWD}


def _recorded(hits: Iterator[Hit], record: list[Hit]) -> Iterator[Hit]:
    """The hits, each added to the record when taken."""
    for hit in hits:
        record.append(hit)
        yield hit

"""Settles of which of several variants a picture is a copy, by comparing them with each other in the workers.

A pair alone can't tell: an edit may take away what differs. So the copies of one picture are judged together, see
``imaging.verify.verify_all``; those that are known to be copies of each other need not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from shazimd.errors import WorkerFailed, WorkerLost
from shazimd.fingerprint import Fingerprint, Query
from shazimd.search.candidates import by_words
from shazimd.search.scope import Known
from shazimd.store.base import Reader, Store
from shazimd.types import ContentId, Differences, Hit, Relation, Verdict, Verification

if TYPE_CHECKING:
    from shazimd.search.query import StartedVerification, Verify

RIVALS_MAX = 20
"""Contents that are judged together in the background, at most."""


def settled(
    store: Store, verify: Verify, query: Query, judged: Sequence[tuple[Hit, Verification]]
) -> list[tuple[Hit, Verification]]:
    """The judged candidates of a query; of copies that are variants of each other, only those that agree best with it
    are copies, and no copy is that agrees better with a variant of which it is known as a copy. Raises WorkerFailed."""
    by_inliers = sorted(judged, key=lambda each: -each[1].inliers)
    copies, variants = (
        [hit.content for hit, found in by_inliers if found.verdict is verdict]
        for verdict in (Verdict.COPY, Verdict.VARIANT)
    )
    differs = _outdone(store, verify, query.features, copies)
    left = [content for content in copies if content not in differs] if variants else []
    differs.update(_nearer_to_variants(store, verify, query.fingerprint.features, left, variants))
    return [
        (
            hit,
            replace(found, verdict=Verdict.VARIANT, differs=differs[hit.content]) if hit.content in differs else found,
        )
        for hit, found in judged
    ]


def settled_pair(library: Known, verify: Verify, query: Query, other: Fingerprint, found: Verification) -> Verification:
    """The verification of two copies; as variants if either agrees better with a known picture. Raises WorkerFailed."""
    own = query.fingerprint.features
    judged = _beside_known_copies(library, verify, query.features, other.features, {own, other.features})
    if judged and _is_variant(judged):
        return judged
    judged = _beside_known_copies(library, verify, other.features, own, {own, other.features})
    if judged and _is_variant(judged):
        return replace(found, verdict=Verdict.VARIANT, differs=judged.differs and judged.differs.inverted())
    return found


def _beside_known_copies(
    library: Known, verify: Verify, features: bytes, other: bytes, pair: Set[bytes]
) -> Verification | None:
    """The verification of a pair, judged together with known copies of the first; None without any."""
    likely = by_words(library, features, RIVALS_MAX)
    with library.store.read() as reader:
        known = [each for each in _features(reader, likely).values() if each not in pair]
    judged = zip(known, verify(features, known).result(), strict=True)
    copies = [each for each, found in judged if found.verdict is Verdict.COPY]
    return verify(features, [other, *copies]).result()[0] if copies else None


def _outdone(
    store: Store, verify: Verify, features: bytes, copies: Sequence[ContentId]
) -> dict[ContentId, Differences | None]:
    """Those of the copies of a picture with these features, the likeliest first, that another outdoes, with the places
    in which they differ."""
    found: dict[ContentId, Differences | None] = {}
    left = list(copies)
    while len(left) > 1:
        with store.read() as reader:
            unsure = [each for each in left[1:] if not _are(reader, Verdict.COPY, left[0], each)]
            known = _features(reader, [left[0], *unsure]) if unsure else {}
        best = known.pop(left[0], None)
        if best is None:
            break
        # Mostly all are copies of the best: then that is known once each is compared with it, by all workers.
        jobs = [(each, verify(best, [other])) for each, other in known.items()]
        others = [each for each, job in jobs if not _is_copy(job)]
        if not others:
            break
        rivals = [left[0], *others]
        judged = zip(rivals, verify(features, [best, *(known[each] for each in others)]).result(), strict=True)
        variants = {each: verification.differs for each, verification in judged if _is_variant(verification)}
        found |= variants
        if left[0] not in variants:
            break
        left = [each for each in left if each not in variants]
    return found


def _nearer_to_variants(
    store: Store, verify: Verify, features: bytes, copies: Iterable[ContentId], variants: Sequence[ContentId]
) -> Iterator[tuple[ContentId, Differences | None]]:
    """Those copies of a picture that are known copies of one of its variants and agree better with it."""
    for copy in copies:
        with store.read() as reader:
            own = [each for each in variants if _are(reader, Verdict.COPY, copy, each)][:RIVALS_MAX]
            known = _features(reader, [copy, *own]) if own else {}
        if copy in known and len(known) > 1:
            first, *others = known.values()
            judged = verify(first, [features, *others]).result()[0]
            if _is_variant(judged):
                yield copy, judged.differs and judged.differs.inverted()


def settled_relations(store: Store, verify: Verify, content: ContentId) -> Iterator[Relation]:
    """The relations of a content and of its copies that were found as copies, and are variants. Raises WorkerFailed."""
    with store.read() as reader:
        centres = [content, *_copies(reader, content)]
    for centre in centres:
        with store.read() as reader:
            copies = _copies(reader, centre)
            rivals = [each for each in copies if any(_are(reader, Verdict.VARIANT, each, other) for other in copies)]
            known = _features(reader, [centre, *rivals]) if rivals else {}
        if centre in known and len(known) > 2:
            judged = verify(known.pop(centre), list(known.values())).result()
            yield from (
                Relation(centre, rival, found) for rival, found in zip(known, judged, strict=True) if _is_variant(found)
            )


def _copies(reader: Reader, content: ContentId) -> list[ContentId]:
    return [partner for partner, _ in reader.relations.copies_of(content)][:RIVALS_MAX]


def _is_copy(job: StartedVerification) -> bool:
    """Whether the only candidate is a copy; not of a picture that ends its worker. Raises WorkerLost."""
    try:
        return job.result()[0].verdict is Verdict.COPY
    except WorkerLost:
        raise
    except WorkerFailed:
        return False


def _is_variant(found: Verification) -> bool:
    return found.verdict is Verdict.VARIANT


def _are(reader: Reader, verdict: Verdict, one: ContentId, other: ContentId) -> bool:
    relation = reader.relations.between(one, other)
    return relation is not None and relation.verification.verdict is verdict


def _features(reader: Reader, contents: Iterable[ContentId]) -> dict[ContentId, bytes]:
    """The local features that are kept of these contents; without those of which there are none."""
    found = {}
    for content in contents:
        try:
            features = reader.features(content)
        except KeyError:  # removed meanwhile
            continue
        if features:
            found[content] = features
    return found

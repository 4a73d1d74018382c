"""The likely partners of a content, and their verification.

Partners are found like candidates of a query: by shared local features, by the vector alone and, for drawings and few
features, by score. This finds mirrored, turned and cropped copies, too. Geometry confirms the pairs, with the vector's
help.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shazimd.fingerprint import Fingerprint
from shazimd.search.candidates import (
    PROPOSED_FROM,
    by_hashes,
    by_negative,
    by_vector,
    by_words,
    fingerprints,
    with_same_pixels,
    words_may_miss,
)
from shazimd.search.library import Library
from shazimd.search.query import JOB_CANDIDATES, StartedVerification, Verify
from shazimd.search.score import confirmed, similarities
from shazimd.store.base import Reader
from shazimd.types import DEFAULT_WEIGHTS, ContentId, Relation

PARTNERS_MAX = 100
"""Maximum number of verified partners of a content, likeliest first."""
PARTNERS_BY_SCORE = 20
"""Maximum number of partners by score and by hashes, for a content whose words may miss copies."""


class PartnerCheck(NamedTuple):
    """The verification of a content's partners, in the workers."""

    content: ContentId
    features: bytes
    partners: list[ContentId]
    cosines: list[float | None]
    """with each partner; None without vectors of the model"""
    copy_from: float | None
    """see ``ModelInfo.copy_from``"""
    verifying: list[StartedVerification]
    """the partners in their order, JOB_CANDIDATES in each job: an arrival waits for the job at hand"""

    def relations(self) -> Iterator[Relation]:
        """The relations found; waits for the workers. Raises WorkerFailed."""
        verified = [found for job in self.verifying for found in job.result()]
        for partner, cosine, found in zip(self.partners, self.cosines, verified, strict=True):
            if found.verdict is not None:
                yield Relation(self.content, partner, confirmed(found, cosine, self.copy_from))


def check_partners(library: Library, reader: Reader, verify: Verify, content: ContentId) -> PartnerCheck:
    """Start to verify a content's likely partners, and those of outdated relations, but for those that it has a present
    relation with. Raises KeyError for an unknown content."""
    own = reader.fingerprint(content, library.model_id)
    outdated = reader.relations.outdated(content) if own.features else []
    known = {content, *with_same_pixels(reader, own), *reader.relations.partners(content)}.difference(outdated)
    likely = dict.fromkeys(each for each in (*outdated, *_likely(library, own)) if each not in known)
    found = fingerprints(library, reader, likely)
    partners = {partner: fingerprint for partner, fingerprint in found if fingerprint.features}
    features = [each.features for each in partners.values()]
    jobs = [
        verify(own.features, features[start : start + JOB_CANDIDATES])
        for start in range(0, len(features), JOB_CANDIDATES)
    ]
    cosines = [similarities(own.signals, each.signals).dfv for each in partners.values()]
    return PartnerCheck(content, own.features, list(partners), cosines, library.copy_from, jobs)


def _likely(library: Library, own: Fingerprint) -> list[ContentId]:
    """The partners to verify, likeliest first; the content itself may be among them."""
    if not own.features:
        return []
    likely = by_words(library, own.features, PARTNERS_MAX) + by_vector(library, own.signals)
    if words_may_miss(own, own.features):
        (hits,) = library.index.search([own.signals], DEFAULT_WEIGHTS, PROPOSED_FROM, PARTNERS_BY_SCORE)
        likely += [hit.content for hit in hits]
        likely += by_hashes(library, [own.signals], PARTNERS_BY_SCORE)
        likely += by_negative(library, own, PARTNERS_BY_SCORE)
    return list(dict.fromkeys(likely))

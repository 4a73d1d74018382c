"""The vector of a model made for copies proposes candidates by itself, and confirms copies that lack features.

The hashes of the score drag a good vector down: a strongly edited copy is often the nearest by the vector alone, and
far by the mix. A copy of which few features are left (tilted, reposted, pixelated) has a map and agrees with its
original once aligned, as does another shot of the scene; the vector tells these apart. Other models than the bundled
one are not made for copies: they have no border, propose nothing by themselves and confirm nothing.
"""

from __future__ import annotations

from dataclasses import replace

from shazimd.search.library import Library
from shazimd.types import ContentId, Signals, Verdict, Verification, Weights

VECTOR_ALONE: Weights = (0.0, 0.0, 1.0)
CANDIDATES = 5


def by_vector(library: Library, upright: Signals, limit: int = CANDIDATES) -> list[ContentId]:
    """The contents with the nearest vectors, nearest first: those that the largest agreement, 1, would confirm."""
    if library.copy_from is None or upright.fv is None:
        return []
    (hits,) = library.index.search([upright], VECTOR_ALONE, library.copy_from - 1, limit)
    return [hit.content for hit in hits]


def confirmed(found: Verification, dfv: float | None, copy_from: float | None) -> Verification:
    """The verification of a pair; a scene is a copy if agreement and cosine together reach the model's border."""
    if found.verdict is not Verdict.SCENE or found.agreement is None or dfv is None or copy_from is None:
        return found
    return replace(found, verdict=Verdict.COPY) if found.agreement + dfv >= copy_from else found

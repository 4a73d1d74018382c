"""The score of a pair: the weighted mean of three similarities, as the original Shazim computed it.

    of hashes: 1 - hamming / 64        dfv = cosine        score = (w1 dah + w2 ddh + w3 dfv) / (w1 + w2 + w3)

A signal missing on either side does not count: the weights are renormalised over the signals of both.

The score is one inner product. Write a hash as a vector of +-1: the share of equal bits is (1 + <a, b> / 64) / 2.
With weights of sum 1, the row s = [a / 8, d / 8, v] and the query q = [w1 a' / 16, w2 d' / 16, w3 v'] give
score = <q, s> + (w1 + w2) / 2, and any engine for one float vector and inner product can serve the score. Each other
hash of ``text.HASHES`` is one more term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shazimd.fingerprint import Signals
from shazimd.types import HASH_BITS, Similarities, Verdict, Verification, Weights


def similarities(a: Signals, b: Signals) -> Similarities:
    """The similarities of a pair; None for a signal missing on either side."""
    cosine = None if a.fv is None or b.fv is None else min(1.0, float(a.fv @ b.fv))
    return Similarities((*map(_hash_similarity, a.hashes, b.hashes), cosine))


def best_orientation(a: Sequence[Signals], b: Sequence[Signals], weights: Weights) -> tuple[float, Similarities]:
    """The best score of two pictures over their orientations, each upright first, and its similarities. All of a
    picture's have its upright vector. The pair has the same whichever comes first."""
    upright = similarities(a[0], b[0])
    turned = [(each, b[0]) for each in a[1:]] + [(a[0], each) for each in b[1:]]
    hashes = (map(_hash_similarity, one.hashes, other.hashes) for one, other in turned)
    pairs = [upright, *(Similarities((*each, upright.dfv)) for each in hashes)]
    return max(((score(pair, weights), pair) for pair in pairs), key=lambda found: found[0])


def score(pair: Similarities, weights: Weights) -> float:
    """The weighted mean of the similarities that are not None; 0 if these have no weight.

    ``index.exact.score`` repeats it bit for bit, so it adds one by one: from 3.12 on ``sum`` rounds otherwise."""
    total = weight = 0.0
    for each, similarity in zip(weights, pair, strict=True):
        if similarity is not None:
            total += each * similarity
            weight += each
    return total / weight if weight else 0.0


def least_of(has_vector: bool, weights: Weights, threshold: float) -> float:
    """The score from which on a pair matches: the threshold, or more if a vector is missing that would count."""
    return threshold if has_vector or not weights[-1] else hashes_threshold(threshold)


def hashes_threshold(threshold: float) -> float:
    """The threshold in the scale of scores by hashes alone, which are higher among like pictures.

    Derived from the pairs of 500 tuned photos: .70, .75, .80 and .85 with the bundled model are reached by as many
    pairs as .82, .84, .88 and .91 by hashes alone."""
    return threshold**_HASHES_POWER if 0 < threshold < 1 else threshold


def stands_out(score: float, level: float) -> bool:
    """Whether a score is far above a level that other contents have with this query."""
    return 1 - score <= _NEARER * (1 - level)


def confirmed(found: Verification, dfv: float | None, copy_from: float | None) -> Verification:
    """The verification of a pair; a scene is a copy if agreement and cosine together reach the model's border.

    A copy of which few features are left (tilted, reposted, pixelated) has a map and agrees with its original once
    aligned, as does another shot of the scene; the vector of a model made for copies tells these apart."""
    if found.verdict is not Verdict.SCENE or found.agreement is None or dfv is None or copy_from is None:
        return found
    return replace(found, verdict=Verdict.COPY) if found.agreement + dfv >= copy_from else found


_HASHES_POWER = 0.6
_NEARER = 0.25
"""A match stands out if at most this share of the level's distance is left to a score of 1."""


def _hash_similarity(a: int | None, b: int | None) -> float | None:
    return None if a is None or b is None else 1 - (a ^ b).bit_count() / HASH_BITS

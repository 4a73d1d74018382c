"""Likely matches of a picture, found by what it shares with known ones, before anything is verified.

By the vector alone only where the model was made for copies: the hashes of the score drag a good vector down, and a
strongly edited copy is often the nearest by the vector, and far by the mix. Other models than the bundled one have no
border, and propose nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain, islice, zip_longest
from typing import NamedTuple

from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.search.scope import Known
from shazimd.store.base import Reader
from shazimd.text import HASHES
from shazimd.types import HASH_MAX, ContentId, Hit, Weights
from shazimd.words.packing import is_drawn, unpack_words
from shazimd.words.vocabulary import likely_negated

BY_SCORE = 10
"""Number of candidates by score that are verified first; see benchmarks/quality/README.md. The last of them tells the
level of a query's neighbourhood, above which a match stands out."""
LIMIT_GROWTH = 8
"""Factor of the next search's limit if too few of the found contents have files to name."""
PROPOSED_FROM = 0.6
"""Minimum score of a candidate: 99 of 100 pairs with nothing in common lie below (benchmarks/index.md)."""
WORDS_FEW = 64
"""With fewer words, shared words may miss a copy. Verification compares pictures with fewer features than this as a
whole."""
HASHES_ALONE: Weights = (*[1.0] * len(HASHES), 0.0)
"""Weights for low-information pictures, whose index has no vectors."""
NEGATIVE_FROM = 0.85
"""Minimum score of the hashes of a picture's negative."""
VECTOR_ALONE: Weights = (*[0.0] * len(HASHES), 1.0)
BY_VECTOR = 5
"""Candidates by the vector alone that are verified first."""
ORIENTATIONS = 8
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ahead(NamedTuple):
    """Contents like a query, looked up while its points are made: a processor has nothing else to do then."""

    best: list[Hit]
    """the first BY_SCORE at or over the threshold"""
    alike: list[ContentId]
    """by the vector alone"""


def ahead_of_points(library: Known, query: Query, weights: Weights, threshold: float) -> Ahead:
    """For ``over_threshold`` and in place of ``by_vector``, of a query whose points are still to come."""
    best = library.index.best_of(query.orientations, weights, threshold, BY_SCORE)
    return Ahead(best, by_vector(library, query.orientations[0]))


def over_threshold(
    library: Known,
    query: Query,
    weights: Weights,
    threshold: float,
    limit: int | None,
    ahead: Ahead | None = None,
    *,
    proposes: bool,
) -> Iterator[Hit]:
    """Every content at or over the threshold, best score first; searched lazily, beyond what was looked up ``ahead``.

    If it ``proposes`` candidates, for a query whose words may miss copies, the first BY_SCORE may lie below the
    threshold; for a low-information query these are all."""
    faint = query.fingerprint.low_information
    proposes = proposes and words_may_miss(query.fingerprint, query.features)
    if faint and not proposes:
        return
    floor = min(threshold, PROPOSED_FROM) if proposes else threshold
    size: int | None = BY_SCORE
    seen: set[ContentId] = set()
    best = ahead.best if ahead and floor == threshold else None
    while True:
        if best is None:
            best = library.index.best_of(query.orientations, weights, floor, size)
        yield from (hit for hit in best if hit.content not in seen)
        if faint or size is None or len(best) < size or best[-1].score < threshold:
            return
        seen.update(hit.content for hit in best)
        floor, best = threshold, None
        size = None if limit is None else max(limit, LIMIT_GROWTH * size)


def by_words(library: Known, features: bytes, limit: int) -> list[ContentId]:
    """Contents that likely share visual words with these local features, or with those of the negative, by more than
    chance."""
    return with_negated(library, features, by_own_words(library, features, limit), limit)


def by_own_words(
    library: Known,
    features: bytes,
    limit: int,
    without: Set[ContentId] = frozenset(),
    *,
    is_crowded: bool = False,
) -> list[ContentId]:
    """Contents, none of those ``without``, that likely share visual words with these local features, likeliest first:
    by more than chance, unless it ``is_crowded`` by pictures of one template."""
    with library.membership() as admits:
        return library.words.search(
            unpack_words(features), limit, is_crowded=is_crowded, without=without, admits=admits
        )


def with_negated(library: Known, features: bytes, likely: Sequence[ContentId], limit: int) -> list[ContentId]:
    """In turn, the likely contents and those that likely share words with the negative."""
    with library.membership() as admits:
        negated = library.words.search(likely_negated(unpack_words(features)), limit, is_rare=True, admits=admits)
    return in_turn(likely, negated)[:limit]


def in_turn(*ranked: Sequence[ContentId]) -> list[ContentId]:
    """The first contents of each, then the second of each; each once."""
    return [content for content in dict.fromkeys(chain.from_iterable(zip_longest(*ranked))) if content is not None]


def by_hashes(library: Known, orientations: Sequence[Signals], limit: int) -> list[ContentId]:
    """Low-information contents with hashes like those of any orientation, best first."""
    return [hit.content for hit in library.faint.best_of(orientations, HASHES_ALONE, PROPOSED_FROM, limit)]


def by_negative(library: Known, fingerprint: Fingerprint, limit: int) -> list[ContentId]:
    """Contents with hashes like those of the picture's negative in any orientation, best first."""
    asked = _negative(fingerprint)
    if not asked:
        return []
    found = (each.best_of(asked, HASHES_ALONE, NEGATIVE_FROM, limit) for each in (library.index, library.faint))
    best = sorted(chain(*found), key=lambda hit: (-hit.score, hit.content))
    return list(islice(dict.fromkeys(hit.content for hit in best), limit))


def by_vector(library: Known, upright: Signals, limit: int = BY_VECTOR) -> list[ContentId]:
    """The contents with the nearest vectors, nearest first: those that the largest agreement, 1, would confirm."""
    if library.copy_from is None or upright.fv is None:
        return []
    return [hit.content for hit in library.index.best_of([upright], VECTOR_ALONE, library.copy_from - 1, limit)]


def words_may_miss(fingerprint: Fingerprint, features: bytes) -> bool:
    """Whether copies of a picture may share hardly any words with it, and scores below the threshold propose some, too:
    a plain picture has few words, and a drawing may be the window around one, with most of the words in its title."""
    return fingerprint.low_information or is_drawn(features) or len(unpack_words(features)) < WORDS_FEW


def _negative(fingerprint: Fingerprint) -> list[Signals]:
    """The hashes of the negative in all orientations, without a vector; none where those of 8 are not kept."""
    hashes = fingerprint.oriented_hashes
    if len(hashes) != ORIENTATIONS:
        return []
    # ``imaging.hashes.ORIENTATIONS`` has each orientation beside its mirror image.
    pairs = [(own, hashes[place ^ 1]) for place, own in enumerate(hashes)]
    return [
        Signals(tuple(map(_negated, (each.name for each in HASHES), own, mirrored)), None) for own, mirrored in pairs
    ]


def _negated(name: str, own: int | None, mirrored: int | None) -> int | None:
    """A hash of the negative, from those of the picture and of its mirror image; None where it cannot be told.

    A cell brighter than its left neighbour is darker than that in the negative, as it is in the mirror image, of which
    the hash has each row in reverse."""
    if name == "ah":
        return (own or 0) ^ HASH_MAX
    if name == "dh":
        return int.from_bytes((mirrored or 0).to_bytes(8, "big").translate(_REVERSED), "big")
    return None


def with_same_pixels(reader: Reader, fingerprint: Fingerprint) -> list[ContentId]:
    return reader.contents_with_pixels(fingerprint.pixels) if fingerprint.pixels else []


def fingerprints(
    library: Known, reader: Reader, contents: Iterable[ContentId]
) -> Iterator[tuple[ContentId, Fingerprint]]:
    """The fingerprints of contents; contents removed meanwhile are skipped."""
    for content in contents:
        with suppress(KeyError):
            yield content, reader.fingerprint(content, library.model_id)

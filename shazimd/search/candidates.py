"""Likely matches of a picture, found by what it shares with known ones, before anything is verified.

By the vector alone only where the model was made for copies: the hashes of the score drag a good vector down, and a
strongly edited copy is often the nearest by the vector, and far by the mix. Other models than the bundled one have no
border, and propose nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from shazimd.search.library import Library
from shazimd.store.base import Reader
from shazimd.types import ContentId, Fingerprint, Signals, Weights
from shazimd.words.packing import unpack_words

PROPOSED_FROM = 0.6
"""Minimum score of a candidate: 99 of 100 pairs with nothing in common lie below (benchmarks/index.md)."""
WORDS_FEW = 64
"""With fewer words, shared words may miss a copy, and scores below the threshold make candidates, too. Verification
compares pictures with fewer features than this as a whole."""
HASHES_ALONE: Weights = (1.0, 1.0, 0.0)
"""Weights for low-information pictures, whose index has no vectors."""
VECTOR_ALONE: Weights = (0.0, 0.0, 1.0)
BY_VECTOR = 5
"""Candidates by the vector alone that are verified first."""


def by_words(library: Library, features: bytes, limit: int) -> list[ContentId]:
    """Contents that likely share visual words with these local features by more than chance."""
    return library.words.search(unpack_words(features), limit)


def by_hashes(library: Library, orientations: Sequence[Signals], limit: int) -> list[ContentId]:
    """Low-information contents with hashes like those of any orientation, best first."""
    found = library.faint.search(orientations, HASHES_ALONE, PROPOSED_FROM, limit)
    best = sorted(chain(*found), key=lambda hit: (-hit.score, hit.content))
    return list(islice(dict.fromkeys(hit.content for hit in best), limit))


def by_vector(library: Library, upright: Signals, limit: int = BY_VECTOR) -> list[ContentId]:
    """The contents with the nearest vectors, nearest first: those that the largest agreement, 1, would confirm."""
    if library.copy_from is None or upright.fv is None:
        return []
    (hits,) = library.index.search([upright], VECTOR_ALONE, library.copy_from - 1, limit)
    return [hit.content for hit in hits]


def has_few_words(features: bytes) -> bool:
    return len(unpack_words(features)) < WORDS_FEW


def may_be_faint(fingerprint: Fingerprint, features: bytes) -> bool:
    """Whether edits of a picture may be low in information: those of others have words enough."""
    return fingerprint.low_information or has_few_words(features)


def with_same_pixels(reader: Reader, fingerprint: Fingerprint) -> list[ContentId]:
    return reader.contents_with_pixels(fingerprint.pixels) if fingerprint.pixels else []


def fingerprints(
    library: Library, reader: Reader, contents: Iterable[ContentId]
) -> Iterator[tuple[ContentId, Fingerprint]]:
    """The fingerprints of contents; contents removed meanwhile are skipped."""
    for content in contents:
        with suppress(KeyError):
            yield content, reader.fingerprint(content, library.model_id)

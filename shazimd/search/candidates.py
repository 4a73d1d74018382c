"""Likely matches of a picture, found by what it shares with known ones, before anything is verified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from shazimd.search.library import Library
from shazimd.store.base import Reader
from shazimd.types import ContentId, Fingerprint, Signals
from shazimd.words.packing import unpack_words

PROPOSED_FROM = 0.6
"""Minimum score of a candidate: 99 of 100 pairs with nothing in common lie below (benchmarks/index.md)."""
WORDS_FEW = 64
"""With fewer words, shared words may miss a copy, and scores below the threshold make candidates, too. Verification
compares pictures with fewer features than this as a whole."""
HASHES_ALONE = (1.0, 1.0, 0.0)
"""Weights for low-information pictures, whose index has no vectors."""


def by_words(library: Library, features: bytes, limit: int) -> list[ContentId]:
    """Contents that likely share visual words with these local features by more than chance."""
    return library.words.search(unpack_words(features), limit)


def by_hashes(library: Library, orientations: Sequence[Signals], limit: int) -> list[ContentId]:
    """Low-information contents with hashes like those of any orientation, best first."""
    found = library.faint.search(orientations, HASHES_ALONE, PROPOSED_FROM, limit)
    best = sorted(chain(*found), key=lambda hit: (-hit.score, hit.content))
    return list(islice(dict.fromkeys(hit.content for hit in best), limit))


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

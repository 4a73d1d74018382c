"""The self-join: every pair of image files with a score from a threshold on, in the order of its discovery.

Contents are joined with those of smaller ids, by growing id, and a join can resume. Files of the same bytes share a
content and make pairs of score 1. Pairs are not verified; low-information pictures, with meaningless scores, are left
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple, TypeAlias

from shazimd.search.library import Library
from shazimd.search.query import IDENTICAL
from shazimd.search.score import least_of
from shazimd.types import ContentId, Hit, Similarities, Weights

AT_ONCE = 256
"""Partners whose paths are read in one transaction."""


class Pair(NamedTuple):
    path: bytes
    match: bytes
    score: float
    similarities: Similarities


Step: TypeAlias = tuple[ContentId, Pair | None]
"""A content and a pair; None after the content's last pair."""


def pairs(library: Library, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[Step]:
    """The steps of contents with id > ``after``, by growing id. Closing the iterator stops the work.

    Raises ValueError for invalid weights or threshold."""
    for content, hits in scored_pairs(library, weights, threshold, after):
        (own,) = _paths(library, [content])
        yield from ((content, Pair(path, match, 1.0, IDENTICAL)) for path, match in combinations(own, 2))
        for start in range(0, len(hits), AT_ONCE):
            some = hits[start : start + AT_ONCE]
            yield from ((content, pair) for pair in _with_others(own, some, _paths(library, [h.content for h in some])))
        yield content, None


def scored_pairs(
    library: Library, weights: Weights, threshold: float, after: ContentId = 0
) -> Iterator[tuple[ContentId, list[Hit]]]:
    """``Index.pairs`` with at least ``least_of``."""
    floor = least_of(library.model is not None, weights, threshold)
    for content, hits in library.index.pairs(weights, floor, after):
        yield content, [h for h in hits if h.score >= least_of(h.similarities.dfv is not None, weights, threshold)]


def _with_others(own: Sequence[bytes], hits: Sequence[Hit], others: Sequence[Sequence[bytes]]) -> Iterator[Pair]:
    for hit, paths in zip(hits, others, strict=True):
        yield from (Pair(path, match, hit.score, hit.similarities) for path, match in product(own, paths))


def _paths(library: Library, contents: Sequence[ContentId]) -> list[list[bytes]]:
    """The files of each content; none of a content removed meanwhile."""
    with library.store.read() as reader:
        return [reader.files_of(content) for content in contents]

"""The self-join: every pair of image files whose score reaches a threshold, as it is found.

Contents are joined with those of smaller ids, in order of id, so that it can go on where it stopped. Files of the same
bytes are one content, and pairs of score 1. By score alone: nothing is verified, and pictures that are low in
information, whose score means nothing, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple, TypeAlias

from shazimd.search.library import Library
from shazimd.types import ContentId, Hit, Similarities, Weights

AT_ONCE = 256
"""Partners whose paths are read in one transaction."""


class Pair(NamedTuple):
    path: bytes
    match: bytes
    score: float
    similarities: Similarities


Step: TypeAlias = tuple[ContentId, Pair | None]
"""A content and one of its pairs; None once all of them were told."""


def pairs(library: Library, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[Step]:
    """The steps of contents with id > ``after``, in order of id. Closing it stops the work.

    Raises ValueError for weights or a threshold that make no sense."""
    for content, hits in library.index.pairs(weights, threshold, after):
        (own,) = _paths(library, [content])
        for path, match in combinations(own, 2):
            yield content, Pair(path, match, 1.0, Similarities(1.0, 1.0, 1.0))
        for start in range(0, len(hits), AT_ONCE):
            some = hits[start : start + AT_ONCE]
            yield from ((content, pair) for pair in _with_others(own, some, _paths(library, [h.content for h in some])))
        yield content, None


def _with_others(own: Sequence[bytes], hits: Sequence[Hit], others: Sequence[Sequence[bytes]]) -> Iterator[Pair]:
    for hit, paths in zip(hits, others, strict=True):
        yield from (Pair(path, match, hit.score, hit.similarities) for path, match in product(own, paths))


def _paths(library: Library, contents: Sequence[ContentId]) -> list[list[bytes]]:
    """The files of each; none of one that was removed meanwhile."""
    with library.store.read() as reader:
        return [reader.files_of(content) for content in contents]

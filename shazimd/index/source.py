"""In step with the store: what an index lacks, and whether what it has is right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from shazimd.index import exact
from shazimd.index.exact import Rows
from shazimd.index.manifest import Stale
from shazimd.index.scan import View
from shazimd.types import ContentId, Fingerprint, Signals

CHECKED = 64
"""Rows compared with the store when an index is opened: enough to tell another store's index, or one whose bytes a
disk lost, from ours."""

REWIND = 1024
"""Ids are added nearly in order; so many before the last are looked at again."""

REMOVED = 4096


class Source(Protocol):
    """What an index is made from; a store's ``Reader`` is one."""

    def signals(self, model: str | None, after: ContentId = 0, /) -> Iterator[tuple[ContentId, Signals]]:
        """Every content that is to be found, id > ``after``, in order."""

    def without_vector(self, model: str, after: ContentId = 0, /) -> Iterator[ContentId]:
        """Contents that lack this model's vector."""

    def removals(self, after: int = 0, /) -> Iterator[tuple[int, ContentId]]:
        """What was removed for good, as (sequence number, id), sequence number > ``after``."""

    def fingerprint(self, content: ContentId, model: str | None, /) -> Fingerprint:
        """Raises KeyError for an unknown content."""


def removed(source: Source, after: int) -> Iterator[tuple[int, list[ContentId]]]:
    """Removals that an index has not seen, in batches, each with its last sequence number."""
    removals = source.removals(after)
    while batch := list(itertools.islice(removals, REMOVED)):
        yield batch[-1][0], [content for _, content in batch]


def news(
    views: Sequence[View], source: Source, model: str | None, known: Callable[[ContentId], bool]
) -> Iterator[tuple[ContentId, Signals]]:
    """Rows that the index lacks, and rows whose vector has come since."""
    last = max((int(view.ids[view.alive].max(initial=0)) for view in views), default=0)
    yield from (row for row in source.signals(model, max(0, last - REWIND)) if not known(row[0]))
    bare = {content for view in views if not view.has[2] for content in view.ids[view.alive].tolist()}
    if model is not None and bare:
        for content in sorted(bare.difference(source.without_vector(model))):
            signals = source.fingerprint(content, model).signals
            if signals.fv is not None:
                yield content, signals


def check(views: Sequence[View], source: Source, model: str | None) -> None:
    """Compare rows spread over the index with the store. Raises Stale."""
    for view in views:
        living = np.flatnonzero(view.alive)
        for row in living[:: max(1, len(living) // CHECKED)]:
            rows = view.rows(row[np.newaxis])
            content = int(rows.ids[0])
            try:
                fingerprint = source.fingerprint(content, model)
            except KeyError as error:
                raise Stale(f"content {content} is unknown to the store") from error
            if fingerprint.low_information or not _same(rows, exact.rows_of([(content, fingerprint.signals)], None)):
                raise Stale(f"content {content} is not what the store has")


def _same(a: Rows, b: Rows) -> bool:
    equal = [a.ids == b.ids, a.ah == b.ah, a.dh == b.dh, a.has == b.has]
    return bool(a.fv.shape == b.fv.shape and all(one.all() for one in equal) and (a.fv == b.fv).all())

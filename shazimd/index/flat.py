"""The reference index: every search compares with every row. Tests compare other indexes against this class."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from shazimd.fingerprint import Signals
from shazimd.index import exact
from shazimd.index.base import Index
from shazimd.index.exact import Rows
from shazimd.types import ContentId, Hit, Weights

BLOCK = 2048
"""Rows scored at once: 2048 x 1280 as float64 are 20 MiB and stay in the last-level cache."""


class FlatIndex(Index):
    """All rows in memory, vectors as float16: 2 d + 27 bytes a row.

    Searches read ``_rows``, a snapshot; writers append behind the snapshot or replace it."""

    def __init__(self) -> None:
        self._width: int | None = None
        self._buffer = exact.empty_rows(0, 0)
        self._rows = self._buffer
        self._known: set[ContentId] = set()
        self._writing = threading.Lock()

    def add(self, rows: Sequence[tuple[ContentId, Signals]]) -> None:
        with self._writing:
            width = exact.width_of((signals for _, signals in rows), self._width)
            last = dict(rows)  # the later of two rows with one id
            new = exact.rows_of(list(last.items()), width)
            self._width = width
            self._append(new, without=last)

    def remove(self, contents: Sequence[ContentId]) -> None:
        with self._writing:
            self._append(exact.empty_rows(0, self._width or 0), without=contents)

    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        exact.check_search(weights, threshold, limit)
        rows = self._rows
        return [self._search(rows, query, weights, threshold, limit) for query in queries]

    def pairs(self, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[tuple[ContentId, list[Hit]]]:
        exact.check_search(weights, threshold, None)
        rows = self._rows
        for row in np.argsort(rows.ids):
            content = int(rows.ids[row])
            if content > after:
                hits = self._search(rows, exact.signals_of(rows, row), weights, threshold, None)
                yield content, [hit for hit in hits if hit.content < content]

    def __len__(self) -> int:
        return len(self._rows.ids)

    def __contains__(self, content: object) -> bool:
        return content in self._known

    def close(self) -> None:
        """Do nothing: the rows live in memory only."""

    def _search(self, rows: Rows, query: Signals, weights: Weights, threshold: float, limit: int | None) -> list[Hit]:
        asked = exact.ask(query, self._width)
        found = [
            exact.score(asked, rows.part(slice(start, start + BLOCK)), weights).at_least(threshold)
            for start in range(0, len(rows.ids), BLOCK)
        ]
        return exact.rank(found, limit)

    def _append(self, new: Rows, without: Collection[ContentId]) -> None:
        """Publish atomically: all rows but those of ``without``, and behind them the ``new`` rows."""
        rows = self._rows
        if any(content in self._known for content in without):
            self._buffer = rows = rows.part(~np.isin(rows.ids, list(without)))
        old, count = len(rows.ids), len(rows.ids) + len(new.ids)
        if count > len(self._buffer.ids) or self._buffer.fv.shape[1] != new.fv.shape[1]:
            self._buffer = exact.empty_rows(2 * count, new.fv.shape[1])
            self._buffer.write(0, rows)
        self._buffer.write(old, new)
        self._rows = self._buffer.part(slice(count))
        self._known.difference_update(without)
        self._known.update(new.ids.tolist())

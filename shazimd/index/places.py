"""Where each content's row lies: 8 bytes an id, where a dict of a million takes over 100."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shazimd.index.exact import Bools, Ids
from shazimd.types import ContentId

PAGE = 1 << 16
"""Ids grow from 1 without great gaps, so pages of this many fill up; a stray large id costs one page."""

TABLE_SHIFT = 40


class Places:
    """id -> (number of a table, row in it)."""

    def __init__(self) -> None:
        self._pages: dict[int, NDArray[np.int64]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, content: ContentId) -> tuple[int, int] | None:
        page = self._pages.get(content // PAGE)
        place = -1 if page is None else int(page[content % PAGE])
        return None if place < 0 else (place >> TABLE_SHIFT, place & ((1 << TABLE_SHIFT) - 1))

    def put(self, contents: Ids, table: int, start: int, which: Bools | None = None) -> None:
        """Say that these (or ``which`` of them) lie in the rows of a table from ``start`` on."""
        places = np.arange(start, start + len(contents)) | (table << TABLE_SHIFT)
        if which is not None:
            contents, places = contents[which], places[which]
        pages = contents // PAGE
        for number in np.unique(pages).tolist():
            inside = pages == number
            page = self._pages.setdefault(number, np.full(PAGE, -1, np.int64))
            offsets = contents[inside] % PAGE
            self._count += int(np.count_nonzero(page[offsets] < 0))
            page[offsets] = places[inside]

    def drop(self, content: ContentId) -> None:
        """Forget a known one."""
        self._pages[content // PAGE][content % PAGE] = -1
        self._count -= 1

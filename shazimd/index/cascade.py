"""The index of the daemon: exact answers from a cascade of bounds, kept beside the store for a fast start.

What bounds read of a row (at most 280 bytes) stays in the page cache; its vector (2 bytes a dimension) is read only to
score it. Nothing here is dear: whatever is missing, stale or damaged is made anew from the store.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import structlog
from numpy.typing import NDArray

from shazimd.errors import StoreFull
from shazimd.index import exact, manifest, scan
from shazimd.index.base import Index
from shazimd.index.bounds import Basis
from shazimd.index.folder import Folder
from shazimd.index.generation import Generation
from shazimd.index.scan import View
from shazimd.index.source import Source, check, news, removed
from shazimd.types import ContentId, Hit, Signals, Weights

BATCH = 1024
"""Rows taken over, encoded or copied at once: as float64 they are 10 MiB."""

JOIN = 32
"""Queries of a self-join that go through the index together, at most: fewer while they find more than JOIN_HITS."""
JOIN_HITS = 100_000
"""35 MB of them"""

SAVE_EVERY = 16_384
"""Rows after which files are synced: a crash costs at most the reading of so many again, half a second."""

LEARN_FROM = 1024
"""Rows from which a basis is worth learning; fewer are all scored fast enough. It is learned anew whenever the rows
have become LEARN_GROWTH times as many, since it fits what it saw; all rewrites together copy a third of the rows."""
LEARN_GROWTH = 4
SAMPLE = 8192

DEAD_MIN, DEAD_SHARE = 1024, 0.25
"""How many dead rows, at least and as a share of all, make a rewrite worth it."""

logger = structlog.get_logger()


class CascadeIndex(Index):
    """Searches read ``_views``, a snapshot; one writer at a time appends behind it and then replaces it.

    ``CascadeIndex()`` lives in memory; ``open`` gives one that is kept in a directory."""

    def __init__(self, folder: Folder | None = None, model: str | None = None) -> None:
        self._folder, self._model = folder, model
        self._width: int | None = None
        self._removals = 0
        self._rows = Generation(Basis.none(0), 0, folder)
        self._views: tuple[View, ...] = ()
        self._unsaved = 0
        self._writing = threading.Lock()
        self._rewriting = threading.Lock()  # taken before _writing
        self._executor = ThreadPoolExecutor(1, "index")
        self._upkeep: Future[None] | None = None
        self._retry_from = 0
        self._closed = False

    @classmethod
    def open(cls, directory: str, source: Source, model: str | None) -> CascadeIndex:
        """The index of all that ``source`` knows, with the vectors of one model (None: hashes only).

        What an earlier run left in ``directory`` is used where it is sound; the rest is read from the source. Raises
        StoreFull when the disk is full."""
        index = cls(Folder.take(directory, model), model)
        try:
            index._load(source)
        except manifest.Stale as stale:
            say = logger.debug if isinstance(stale, manifest.Absent) else logger.info
            say("index_rebuilding", model=model, reason=str(stale))
            index._start_anew()
            index._catch_up(source)
        index._tend()
        return index

    def add(self, rows: Sequence[tuple[ContentId, Signals]]) -> None:
        last = dict(rows)  # of two rows with one id, the later
        with self._writing:
            width = exact.width_of(last.values(), self._width)
            new = exact.rows_of(list(last.items()), width)
            self._set_width(width)
            try:
                self._rows.append(new)
            except OSError as error:
                raise StoreFull(f"index: {len(new.ids)} rows could not be written: {error.strerror}") from error
            finally:
                self._views = self._rows.views()
            self._unsaved += len(new.ids)
        self._tend()

    def remove(self, contents: Sequence[ContentId]) -> None:
        with self._writing:
            self._rows.retire(contents)
            self._views = self._rows.views()
        self._tend()

    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        exact.check_search(weights, threshold, limit)
        views, width = self._views, self._width
        asked = [exact.ask(query, width) for query in queries]
        return scan.search(views, asked, weights, threshold, limit)

    def pairs(self, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[tuple[ContentId, list[Hit]]]:
        exact.check_search(weights, threshold, None)
        views = self._views
        ids, tables, places = _in_order(views, after)
        start, size = 0, 1
        while start < len(ids):
            part = slice(start, start + size)
            signals = (
                exact.signals_of(views[table].rows(place), 0)
                for table, place in zip(tables[part].tolist(), places[part].reshape(-1, 1), strict=True)
            )
            asked = [exact.ask(one, self._width) for one in signals]
            below = ids[part].tolist()
            found = scan.search(_smaller(views, below[-1]), asked, weights, threshold, below=below)
            start += size
            size = min(JOIN, 2 * size) if sum(map(len, found)) < JOIN_HITS else max(1, size // 2)
            yield from zip(below, found, strict=True)

    def __len__(self) -> int:
        return len(self._rows.places)

    def __contains__(self, content: object) -> bool:
        return isinstance(content, int) and self._rows.places.get(content) is not None

    def close(self) -> None:
        """Keep the rows for a fast start, and let go."""
        if self._closed:
            return
        self._closed = True
        self._executor.shutdown(wait=True)
        with self._rewriting:
            self._attempt(self._save)
            self._rows.close()
            if self._folder is not None:
                self._folder.close()

    def compact(self) -> None:
        """Rewrite the rows without the dead ones, sorted by id, with a basis that fits them.

        Searches, adding and removing go on meanwhile. Raises OSError, and then all is as before."""
        with self._rewriting:
            old = self._rows
            views = old.views()
            new = Generation(_learned(views, self._width or 0), old.number + 1, self._folder)
            try:
                if not self._copy(views, new):
                    new.discard()
                    return
                with self._writing:
                    _follow(old, views, new)
                    self._rows, self._views = new, new.views()
            except OSError:
                new.discard()
                raise
            old.close()
            self._save()

    def _copy(self, views: Sequence[View], new: Generation) -> bool:
        """Write all living rows; False where closing broke it off."""
        for view in views:
            order = view.order()
            for start in range(0, len(order), BATCH):
                if self._closed:
                    return False
                new.append(view.rows(order[start : start + BATCH]))
        return True

    def _set_width(self, width: int | None) -> None:
        """The first vector tells the width; the rows before it have none, so any basis suits them."""
        if width != self._width:
            self._rows.basis = Basis.none(width or 0)
            self._width = width

    def _load(self, source: Source) -> None:
        """Take over what an earlier run left. Raises manifest.Stale."""
        assert self._folder is not None
        record = self._folder.manifest(self._model)
        self._rows = Generation.load(self._folder, record)
        self._views, self._width, self._removals = self._rows.views(), record.width, record.removals
        self._catch_up(source)
        check(self._views, source, self._model)

    def _start_anew(self) -> None:
        assert self._folder is not None
        self._rows.close()
        self._folder.clear()
        self._width, self._removals, self._views = None, 0, ()
        self._rows = Generation(Basis.none(0), 0, self._folder)

    def _catch_up(self, source: Source) -> None:
        for number, contents in removed(source, self._removals):
            self.remove(contents)
            self._removals = number
        rows = news(self._views, source, self._model, known=self.__contains__)
        while batch := list(itertools.islice(rows, BATCH)):
            self.add(batch)

    def _save(self) -> None:
        """Sync the files and replace the manifest. Raises OSError."""
        if self._folder is None:
            return
        with self._writing:
            rows, self._unsaved = self._rows, 0
            record = rows.record(self._model, self._width, self._removals)
        rows.sync()
        self._folder.write_manifest(record)
        self._folder.keep(f"{record.generation}.")

    def _tend(self) -> None:
        """Start what is due in the background, one thing at a time."""
        if self._closed or (self._upkeep is not None and not self._upkeep.done()):
            return
        if self._worth_rewriting():
            self._upkeep = self._executor.submit(self._attempt, self.compact)
        elif self._unsaved >= SAVE_EVERY:
            self._upkeep = self._executor.submit(self._attempt, self._save_alone)

    def _save_alone(self) -> None:
        with self._rewriting:
            self._save()

    def _attempt(self, work: Callable[[], None]) -> None:
        """Upkeep that fails costs speed or a slower start, never an answer: say so, and try again when there is more
        to do."""
        try:
            work()
        except OSError as error:
            self._retry_from = self._rows.count + SAVE_EVERY
            self._unsaved = 0
            logger.warning("index_upkeep_failed", model=self._model, reason=str(error))

    def _worth_rewriting(self) -> bool:
        rows = self._rows
        if rows.count < self._retry_from:
            return False
        grown = rows.vectors >= max(LEARN_FROM, LEARN_GROWTH * rows.basis.learned_from)
        dead = rows.count - len(rows.places)
        return grown or dead >= max(DEAD_MIN, DEAD_SHARE * rows.count)


def _in_order(views: Sequence[View], after: ContentId) -> tuple[exact.Ids, NDArray[np.intp], NDArray[np.intp]]:
    """The living ids > ``after`` in growing order, and the view and row of each."""
    orders = [view.order() for view in views]
    ids = np.concatenate([np.zeros(0, np.int64), *(view.ids[rows] for view, rows in zip(views, orders, strict=True))])
    tables = np.repeat(np.arange(len(views)), [len(rows) for rows in orders])
    places = np.concatenate([np.zeros(0, np.intp), *orders])
    order = np.argsort(ids)[np.count_nonzero(ids <= after) :]
    return ids[order], tables[order], places[order]


def _smaller(views: Sequence[View], content: ContentId) -> list[View]:
    """The views without what lies, in those that are sorted, from ``content`` on."""
    return [view.head(int(np.searchsorted(view.ids, content))) if _sorted(view) else view for view in views]


def _sorted(view: View) -> bool:
    return bool((view.ids[1:] > view.ids[:-1]).all())


def _learned(views: Sequence[View], width: int) -> Basis:
    """The basis that fits a sample spread evenly over these rows; the useless one where they are few."""
    orders = [view.order() if view.has[2] else np.zeros(0, np.intp) for view in views]
    known = sum(len(order) for order in orders)
    if known < LEARN_FROM:
        return Basis.none(width)
    step = max(1, known // SAMPLE)
    return Basis.learn(
        np.concatenate([view.fv[rows[::step]] for view, rows in zip(views, orders, strict=True) if len(rows)]), known
    )


def _follow(old: Generation, views: Sequence[View], new: Generation) -> None:
    """Give to ``new``, copied from ``views`` of ``old``, what happened to ``old`` since."""
    gone: list[ContentId] = []
    for place, now in enumerate(old.views()):
        copied = len(views[place].ids) if place < len(views) else 0
        tail = copied + np.flatnonzero(now.alive[copied:])
        for start in range(0, len(tail), BATCH):
            new.append(now.rows(tail[start : start + BATCH]))
        if copied:
            gone += now.ids[:copied][views[place].alive & ~now.alive[:copied]].tolist()
    new.retire([content for content in gone if old.places.get(content) is None])

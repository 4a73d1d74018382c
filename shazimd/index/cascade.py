"""The index of the daemon: exact answers from a cascade of bounds, kept beside the store for a fast start.

The bounds of a row (at most 280 bytes) stay in the page cache; its vector (2 bytes a dimension) is read only to score
the row. All files can be lost: missing, stale or damaged files are rebuilt from the store.
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
from shazimd.fingerprint import Signals
from shazimd.index import exact, scan
from shazimd.index.base import Index, Source
from shazimd.index.bounds import Basis
from shazimd.index.exact import Rows
from shazimd.index.files import Absent, Folder, Stale
from shazimd.index.generation import Generation
from shazimd.index.scan import TableView
from shazimd.types import ContentId, Hit, Weights

BATCH = 1024
"""Rows added, encoded or copied at once: 10 MiB as float64."""

JOIN = 32
"""Maximum number of queries in one search of a self-join; halved while a search finds more than JOIN_HITS."""
JOIN_HITS = 100_000
"""35 MB of hits"""

SAVE_EVERY = 16_384
"""Added rows between two syncs: after a crash at most this many are read from the store again, in half a second."""

LEARN_FROM = 1024
"""Minimum number of rows for learning a basis; fewer rows are all scored fast enough. The basis fits the rows it was
learned from, so it is learned again after each growth by the factor LEARN_GROWTH; all rewrites together copy a third of
the rows."""
LEARN_GROWTH = 4
SAMPLE = 8192

DEAD_MIN, DEAD_SHARE = 1024, 0.25
"""Minimum number and share of dead rows for a rewrite."""

CHECKED = 64
"""Rows of each table compared with the store at a start: enough to detect the index of another store, or bytes lost by
a disk."""

REWIND = 4096
"""Ids are added nearly in order; this many before the last are looked up again at a start."""

REMOVED = 4096
"""Removals read from the store at once."""

logger = structlog.get_logger()


class CascadeIndex(Index):
    """Searches read ``_views``, a snapshot; one writer at a time appends behind the snapshot and then replaces it."""

    def __init__(self, folder: Folder, model: str | None) -> None:
        self._folder, self._model = folder, model
        self._width: int | None = None
        self._removals = 0
        self._rows = Generation(Basis.none(0), 0, folder)
        self._views: tuple[TableView, ...] = ()
        self._unsaved = 0
        self._writing = threading.Lock()
        self._rewriting = threading.Lock()  # taken before _writing
        self._executor = ThreadPoolExecutor(1, "index")
        self._upkeep: Future[None] | None = None
        self._retry_from = 0
        self._closed = False

    @classmethod
    def open(cls, directory: str, source: Source, model: str | None) -> CascadeIndex:
        """The index of all contents of ``source``, with the vectors of one model (None: hashes only).

        Sound files in ``directory`` are used; other rows are read from the source. Raises StoreFull on a full disk."""
        index = cls(Folder.take(directory, model), model)
        try:
            index._load_or_rebuild(source)
        except BaseException:  # a later try is to find the folder free, and to write over its files
            index._release()
            raise
        index._start_upkeep()
        return index

    def _load_or_rebuild(self, source: Source) -> None:
        try:
            self._load(source)
        except Stale as stale:
            log = logger.debug if isinstance(stale, Absent) else logger.info
            log("index_rebuilding", model=self._model, reason=str(stale))
            self._clear()
            self._catch_up(source)

    def add(self, rows: Sequence[tuple[ContentId, Signals]]) -> None:
        last = dict(rows)  # the later of two rows with one id
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
        self._start_upkeep()

    def remove(self, contents: Sequence[ContentId]) -> None:
        with self._writing:
            self._rows.retire(contents)
            self._views = self._rows.views()
        self._start_upkeep()

    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        exact.check_search(weights, threshold, limit)
        views, width = self._views, self._width
        asked = [exact.ask(query, width) for query in queries]
        return scan.search(views, asked, weights, threshold, limit)

    def best_of(
        self, orientations: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[Hit]:
        """In one scan where orientations differ in the values of their hashes alone, as those of a picture do."""
        upright, *turned = orientations
        if not all(_differ_in_hashes_alone(upright, each) for each in turned):
            return super().best_of(orientations, weights, threshold, limit)
        exact.check_search(weights, threshold, limit)
        views = self._views
        (hits,) = scan.search(views, [exact.ask(upright, self._width, turned)], weights, threshold, limit)
        return hits

    def pairs(self, weights: Weights, threshold: float, after: ContentId = 0) -> Iterator[tuple[ContentId, list[Hit]]]:
        exact.check_search(weights, threshold, None)
        views = self._views
        ids, tables, rows = _in_order(views, after)
        start, size = 0, 1
        while start < len(ids):
            part = slice(start, start + size)
            signals = (
                exact.signals_of(views[table].rows(row), 0)
                for table, row in zip(tables[part].tolist(), rows[part].reshape(-1, 1), strict=True)
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
        """Save the rows for a fast start, and release the files."""
        if not self._closed:
            self._release(self._save)

    def _release(self, save: Callable[[], None] = lambda: None) -> None:
        self._closed = True
        self._executor.shutdown(wait=True)
        with self._rewriting:
            self._attempt(save)
            self._rows.close()
            self._folder.close()

    def compact(self) -> None:
        """Rewrite the living rows, sorted by id, with a basis that fits them.

        Searches, adding and removing go on meanwhile. Raises OSError, and then nothing has changed."""
        with self._rewriting:
            # The snapshot that searches read: an add that is half done has rows and the rows they replace both alive.
            old, views = self._rows, self._views
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

    def _copy(self, views: Sequence[TableView], new: Generation) -> bool:
        """Copy all living rows; False if interrupted by ``close``."""
        for view in views:
            order = view.order()
            for start in range(0, len(order), BATCH):
                if self._closed:
                    return False
                new.append(view.rows(order[start : start + BATCH]))
        return True

    def _set_width(self, width: int | None) -> None:
        """Take the width of the first vector. Rows before have no vector, and any basis suits them."""
        if width != self._width:
            self._rows.basis = Basis.none(width or 0)
            self._width = width

    def _load(self, source: Source) -> None:
        """Use the files of the previous run. Raises Stale."""
        manifest = self._folder.read_manifest(self._model)
        self._rows = Generation.load(self._folder, manifest)
        self._views, self._width, self._removals = self._rows.views(), manifest.width, manifest.removals
        self._catch_up(source)
        self._compare(source)

    def _clear(self) -> None:
        self._rows.close()
        self._width, self._removals, self._views = None, 0, ()
        self._rows = Generation(Basis.none(0), 0, self._folder)
        self._folder.clear()

    def _catch_up(self, source: Source) -> None:
        """Apply the removals and additions of the source since the last save."""
        removals = source.removals(self._removals)
        while removed := list(itertools.islice(removals, REMOVED)):
            self.remove([content for _, content in removed])
            self._removals = removed[-1][0]
        rows = self._missing(source)
        while batch := list(itertools.islice(rows, BATCH)):
            self.add(batch)

    def _missing(self, source: Source) -> Iterator[tuple[ContentId, Signals]]:
        """Rows of the source missing in the index, and rows whose vector is missing in the index."""
        views = self._views
        last = max((int(view.ids[view.alive].max(initial=0)) for view in views), default=0)
        yield from (row for row in source.signals(self._model, max(0, last - REWIND)) if row[0] not in self)
        bare = {content for view in views if not view.has[-1] for content in view.ids[view.alive].tolist()}
        if self._model is not None and bare:
            for content in sorted(bare.difference(source.without_vector(self._model))):
                signals = source.fingerprint(content, self._model).signals
                if signals.fv is not None:
                    yield content, signals

    def _compare(self, source: Source) -> None:
        """Compare a sample of the rows with the source. Raises Stale."""
        for view in self._views:
            living = np.flatnonzero(view.alive)
            for row in living[:: max(1, len(living) // CHECKED)]:
                rows = view.rows(row[np.newaxis])
                content = int(rows.ids[0])
                try:
                    known = source.fingerprint(content, self._model)
                except KeyError as error:
                    raise Stale(f"content {content} is unknown to the store") from error
                if known.low_information or not _same(rows, exact.rows_of([(content, known.signals)], None)):
                    raise Stale(f"content {content} differs from the store's")

    def _save(self) -> None:
        """Sync the files and replace the manifest. Raises OSError."""
        with self._writing:
            rows, self._unsaved = self._rows, 0
            manifest = rows.manifest(self._model, self._width, self._removals)
        rows.sync()
        self._folder.write_manifest(manifest)
        self._folder.keep_only(f"{manifest.generation}.")

    def _start_upkeep(self) -> None:
        """Start a rewrite or a save in the background if one is due and none runs."""
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
        """Run upkeep and log a failure: it costs speed or a slower start, never an answer. SAVE_EVERY more rows start
        the next try."""
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


def _differ_in_hashes_alone(a: Signals, b: Signals) -> bool:
    same_vector = a.fv is b.fv or (a.fv is not None and b.fv is not None and np.array_equal(a.fv, b.fv))
    return same_vector and [each is None for each in a.hashes] == [each is None for each in b.hashes]


def _same(a: Rows, b: Rows) -> bool:
    equal = [a.ids == b.ids, a.has == b.has, *map(np.equal, a.hashes, b.hashes)]
    return bool(a.fv.shape == b.fv.shape and all(column.all() for column in equal) and (a.fv == b.fv).all())


def _in_order(views: Sequence[TableView], after: ContentId) -> tuple[exact.Ids, NDArray[np.intp], NDArray[np.intp]]:
    """The living ids > ``after`` in growing order, with the view and row of each."""
    orders = [view.order() for view in views]
    ids = np.concatenate([np.zeros(0, np.int64), *(view.ids[own] for view, own in zip(views, orders, strict=True))])
    tables = np.repeat(np.arange(len(views)), [len(own) for own in orders])
    rows = np.concatenate([np.zeros(0, np.intp), *orders])
    order = np.argsort(ids)[np.count_nonzero(ids <= after) :]
    return ids[order], tables[order], rows[order]


def _smaller(views: Sequence[TableView], content: ContentId) -> list[TableView]:
    """The views; sorted ones without the rows from ``content`` on."""
    return [view.head(int(np.searchsorted(view.ids, content))) if _sorted(view) else view for view in views]


def _sorted(view: TableView) -> bool:
    return bool((view.ids[1:] > view.ids[:-1]).all())


def _learned(views: Sequence[TableView], width: int) -> Basis:
    """The basis that fits an even sample of the rows; the useless basis for few rows."""
    orders = [view.order() if view.has[-1] else np.zeros(0, np.intp) for view in views]
    known = sum(len(order) for order in orders)
    if known < LEARN_FROM:
        return Basis.none(width)
    step = max(1, known // SAMPLE)
    return Basis.learn(
        np.concatenate([view.fv[rows[::step]] for view, rows in zip(views, orders, strict=True) if len(rows)]), known
    )


def _follow(old: Generation, views: Sequence[TableView], new: Generation) -> None:
    """Repeat on ``new``, a copy of ``views`` of ``old``, the additions and removals in ``old`` since the copy."""
    gone: list[ContentId] = []
    for number, now in enumerate(old.views()):
        copied = len(views[number].ids) if number < len(views) else 0
        tail = copied + np.flatnonzero(now.alive[copied:])
        for start in range(0, len(tail), BATCH):
            new.append(now.rows(tail[start : start + BATCH]))
        if copied:
            gone += now.ids[:copied][views[number].alive & ~now.alive[:copied]].tolist()
    new.retire([content for content in gone if old.places.get(content) is None])

"""A search in snapshots of rows: bounds first, then exact scores of the remaining candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shazimd.index import exact
from shazimd.index.bounds import COARSE, NUMBERS, SLACK, Basis, Bounds, Bytes, Floats
from shazimd.index.exact import Asked, Bools, Column, Halves, Ids, Rows, Scored
from shazimd.types import ContentId, Hit, Weights

BLOCK = 32768
"""Rows bounded at once: enough to outweigh a block's dozen calls, few enough (hashes and coarse parts are 2.5 MiB) to
stay in the last-level cache for the next query of a batch."""

SPARSE = 8
"""If less than 1/SPARSE of the rows remain, rows are gathered rather than multiplied all together."""

FEW = 4096
"""Rows refined at once: 1.2 MiB when gathered and widened to float32."""

CHUNK = 128
"""Rows scored exactly at once: 128 x 1280 as float64 are 1.3 MiB."""

PROBES = 64
"""With a limit, this many likely rows (twice the limit if that is more) are scored first, to raise the threshold."""

REFINED_PER_PROBE = 16
"""The coarse bounds choose this many times more, and the fine bounds choose the probes among these."""

Distances: TypeAlias = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class TableView:
    """A snapshot of rows that all have the same signals. It never changes."""

    has: Bools
    """bool [number of signals]"""
    basis: Basis
    alive: Bools
    """bool [n]; False for a removed or replaced row"""
    ids: Ids
    hashes: tuple[Column, ...]
    coarse: Floats
    """float32 [n, 16]"""
    levels: tuple[Bytes, ...]
    """uint8 [n, 64] each"""
    fv: Halves
    """float16 [n, d]"""

    def rows(self, which: NDArray[np.intp] | slice) -> Rows:
        """Some rows with all their columns."""
        ids = self.ids[which]
        fv = self.fv[which] if isinstance(which, slice) else self.fv.take(which, axis=0)
        hashes = tuple(column[which] for column in self.hashes)
        return Rows(ids, hashes, fv, np.broadcast_to(self.has, (len(ids), len(self.has))))

    def head(self, count: int) -> TableView:
        """The first ``count`` rows."""
        c = slice(count)
        hashes, levels = tuple(column[c] for column in self.hashes), tuple(level[c] for level in self.levels)
        return TableView(self.has, self.basis, self.alive[c], self.ids[c], hashes, self.coarse[c], levels, self.fv[c])

    def order(self) -> NDArray[np.intp]:
        """The living rows by growing id."""
        living = np.flatnonzero(self.alive)
        return living[np.argsort(self.ids[living])]


class Candidates(NamedTuple):
    """Rows of a view that no bound has ruled out."""

    view: TableView
    bounds: Bounds
    rows: NDArray[np.intp]
    sums: Floats
    """upper bound of the score from the hashes and the levels read"""
    most: Floats
    """``sums`` plus the upper bound of the unread rest, but for SLACK"""
    levels: int
    """number of finer levels read"""

    def where(self, keep: Bools | NDArray[np.intp]) -> Candidates:
        return self._replace(rows=self.rows[keep], sums=self.sums[keep], most=self.most[keep])


def search(
    views: Sequence[TableView],
    asked: Sequence[Asked],
    weights: Weights,
    threshold: float,
    limit: int | None = None,
    below: Sequence[ContentId] | None = None,
) -> list[list[Hit]]:
    """For each query its hits, best first, at most ``limit``; only ids smaller than the query's ``below``, if given."""
    bars = below if below is not None else [np.iinfo(np.int64).max] * len(asked)
    shortlists = [_Shortlist(query, weights, threshold, limit, bar) for query, bar in zip(asked, bars, strict=True)]
    for view in views:
        _scan(view, shortlists)
    return [each.hits() for each in shortlists]


def _scan(view: TableView, shortlists: Sequence[_Shortlist]) -> None:
    """Add to each shortlist the rows of a view that the hash and coarse bounds cannot rule out."""
    scans = [_TableScan(view, each) for each in shortlists]
    coarse = np.array([scan.bounds.coarse for scan in scans])
    for number, start in enumerate(range(0, len(view.ids), BLOCK)):
        block = slice(start, min(start + BLOCK, len(view.ids)))
        dense = [place for place, scan in enumerate(scans) if scan.hashes(block)]
        if dense:
            for place, cosines in zip(dense, coarse[dense] @ view.coarse[block].T, strict=True):
                scans[place].cosines(block, cosines)
        if number & (number + 1) == 0:  # after 1, 2, 4, 8 blocks: rarely, and early, for most gain
            for each in shortlists:
                each.raise_threshold()


class _Shortlist:
    """One query and its remaining candidates."""

    def __init__(self, asked: Asked, weights: Weights, threshold: float, limit: int | None, below: ContentId) -> None:
        self.asked, self.weights, self.limit, self.below = asked, weights, limit, below
        self.threshold = threshold
        """of the search; with a limit, raised to the score that ``limit`` rows are known to reach"""
        self.left: list[Candidates] = []

    def keep(self, candidates: Candidates) -> None:
        view, rows = candidates.view, candidates.rows
        keep = view.alive[rows] & (view.ids[rows] < self.below) & (candidates.most >= self.threshold - SLACK)
        self.left.append(candidates.where(keep))

    def raise_threshold(self, worth_from: int = PROBES * REFINED_PER_PROBE) -> None:
        """Score the likeliest rows and raise the threshold to the ``limit``-th best score.

        With fewer than ``worth_from`` candidates, finer bounds of all cost less."""
        left = sum(len(candidates.rows) for candidates in self.left)
        if not self.limit or left <= max(2 * self.limit, worth_from):
            return
        self.left = _joined(self.left)
        likely = [_refined(one, -np.inf) for one in _likeliest(self.left, PROBES * REFINED_PER_PROBE)]
        likely = _likeliest(likely, max(PROBES, 2 * self.limit))
        scores = np.concatenate([scored.scores for one in likely for scored in self._scored(one)])
        if len(scores) >= self.limit:
            self.threshold = max(self.threshold, float(np.sort(scores)[-self.limit]))
        self.left = [one.where(one.most >= self.threshold - SLACK) for one in self.left]

    def hits(self) -> list[Hit]:
        self.left = _joined(self.left)
        self.raise_threshold()
        self.left = [_refined(candidates, self.threshold) for candidates in self.left]
        self.raise_threshold(0)  # the fine bounds know better which are likely
        found = [scored.at_least(self.threshold) for one in self.left for scored in self._scored(one)]
        return exact.rank(found, self.limit)

    def _scored(self, candidates: Candidates) -> Iterator[Scored]:
        for start in range(0, len(candidates.rows), CHUNK):
            rows = candidates.view.rows(candidates.rows[start : start + CHUNK])
            yield exact.score(self.asked, rows, self.weights)


class _TableScan:
    """One query in the blocks of a view."""

    def __init__(self, view: TableView, shortlist: _Shortlist) -> None:
        self.view, self.shortlist = view, shortlist
        self.bounds = Bounds.of(shortlist.asked, shortlist.weights, view.has, view.basis)
        length = min(BLOCK, len(view.ids))
        self.bits = np.empty(length, np.uint64)
        self.counts = np.empty(length, np.uint8)
        self.distances = np.empty((3, length), np.uint16)

    def hashes(self, block: slice) -> bool:
        """Compute a block's distances; True if many rows remain and the caller must pass all ``cosines``."""
        distances = self._distances(block)
        near = distances <= self.bounds.furthest(self.shortlist.threshold)
        count = np.count_nonzero(near)
        if count * SPARSE > len(distances) and self.bounds.cosine_share:
            return True
        if count:
            rows = np.flatnonzero(near)
            coarse = self.view.coarse[block].take(rows, axis=0) if self.bounds.cosine_share else None
            cosines = np.zeros(count, np.float32) if coarse is None else coarse @ self.bounds.coarse
            self._keep(block, rows, self._share(distances[rows]), cosines)
        return False

    def cosines(self, block: slice, cosines: Floats) -> None:
        """Keep the rows, of the block last passed to ``hashes``, with a sufficient coarse bound."""
        share = self._share(self.distances[0, : len(cosines)])
        rows = np.flatnonzero(cosines + share >= np.float32(self.shortlist.threshold - SLACK))
        self._keep(block, rows, share[rows], cosines[rows])

    def _distances(self, block: slice) -> Distances:
        """Of the nearest orientation."""
        length = block.stop - block.start
        bits, counts = self.bits[:length], self.counts[:length]
        nearest: Distances
        nearest, total, weighted = self.distances[:, :length]
        weights = [np.uint16(weight) for weight in self.bounds.hash_weights]
        for number, orientation in enumerate(zip(*self.shortlist.asked.hashes, strict=True)):
            sums = total if number else nearest
            for place, (column, own, weight) in enumerate(zip(self.view.hashes, orientation, weights, strict=True)):
                np.bitwise_xor(column[block], own, out=bits)
                np.bitwise_count(bits, out=counts)
                np.multiply(counts, weight, out=weighted if place else sums)
                if place:
                    np.add(sums, weighted, out=sums)
            if number:
                np.minimum(nearest, sums, out=nearest)
        return nearest

    def _share(self, distances: Distances) -> Floats:
        share = distances * np.float32(-self.bounds.hash_unit)
        share += np.float32(self.bounds.hash_share)
        return share

    def _keep(self, block: slice, rows: NDArray[np.intp], share: Floats, cosines: Floats) -> None:
        most = sums = share + cosines
        if self.bounds.cosine_share:
            rests = self.view.coarse[block].reshape(-1).take(rows * (COARSE + 1) + COARSE)
            sums = most - rests * self.bounds.coarse[COARSE]
        self.shortlist.keep(Candidates(self.view, self.bounds, rows + block.start, sums, most, 0))


def _joined(left: Sequence[Candidates]) -> list[Candidates]:
    """The candidates with those of each view in one object; they were found block by block."""
    joined = []
    for view in {id(candidates.view): candidates.view for candidates in left}.values():
        same = [candidates for candidates in left if candidates.view is view]
        rows, sums, most = (np.concatenate([one[column] for one in same]) for column in (2, 3, 4))
        joined.append(Candidates(view, same[0].bounds, rows, sums, most, same[0].levels))
    return joined


def _likeliest(left: Sequence[Candidates], count: int) -> list[Candidates]:
    """About ``count`` candidates with the largest upper bounds."""
    most = np.concatenate([candidates.most for candidates in left])
    if len(most) <= count:
        return list(left)
    lowest = np.partition(most, -count)[-count]
    return [candidates.where(np.flatnonzero(candidates.most >= lowest)[:count]) for candidates in left]


def _refined(candidates: Candidates, threshold: float) -> Candidates:
    """The candidates that the finer levels do not rule out, with finer bounds."""
    if not candidates.bounds.cosine_share:
        return candidates
    for level in range(candidates.levels, len(candidates.view.levels)):
        candidates = _finer(candidates, level)
        candidates = candidates.where(candidates.most >= np.float32(threshold - SLACK))
    return candidates


def _finer(candidates: Candidates, level: int) -> Candidates:
    """The same candidates with the bounds of one more level."""
    column, query = candidates.view.levels[level], candidates.bounds.levels[level]
    sums, most = candidates.sums.copy(), np.empty_like(candidates.most)
    for start in range(0, len(sums), FEW):
        part = slice(start, start + FEW)
        own = column.take(candidates.rows[part], axis=0)
        floats = own.view(np.float32)
        sums[part] += own[:, :NUMBERS].view(np.int8).astype(np.float32) @ query.numbers
        sums[part] += floats[:, -2] * query.error
        most[part] = sums[part] + floats[:, -1] * query.rest
    return candidates._replace(sums=sums, most=most, levels=level + 1)

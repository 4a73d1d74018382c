"""Is an exact search over many shards, each in a process of its own, equal to that of a single index?

    python -m benchmarks.shards --rows 100000 --shards 20

Row r lies in shard r mod n under its own id. A query goes to all shards; the answers are merged by score, then by id,
and cut at the limit. docs/scale.md has the last answer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from multiprocessing.connection import Connection

import numpy as np

from benchmarks import vectors
from benchmarks.index import Made, signals
from shazimd.fingerprint import Signals
from shazimd.index.cascade import CascadeIndex
from shazimd.types import DEFAULT_WEIGHTS, ContentId, Hit

CENTRES, BASE, WIDTH, QUERIES = 400, 8_000, 256, 100
WEIGHTS = DEFAULT_WEIGHTS
KINDS: list[tuple[str, float, int | None]] = [
    ("threshold .75", 0.75, None),
    ("threshold .9", 0.9, None),
    ("best 20", 0.0, 20),
    ("best 10 from .6", 0.6, 10),
]


class Shard(Made):
    """The rows of a shard, under their ids among all."""

    def __init__(self, data: vectors.Set, count: int, number: int, of: int) -> None:
        super().__init__(data, count)
        self._number, self._of = number, of

    def signals(self, model: str | None, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals]]:
        rows = super().signals(model, after)
        return (row for row in rows if row[0] % self._of == self._number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=20)
    options = parser.parse_args()
    base = made_base()
    data = concatenated(list(vectors.scaled(base, options.rows)))
    queries = [signals(base, row) for row in np.random.default_rng(5).integers(0, BASE, QUERIES)]
    with tempfile.TemporaryDirectory() as folder:
        for name, values in data._asdict().items():
            np.save(f"{folder}/{name}.npy", values)
        whole = CascadeIndex.open(f"{folder}/whole", Made(data, options.rows), "benchmark")
        shards = [start(folder, options.rows, number, options.shards) for number in range(options.shards)]
        sizes = [int(shard.recv()) for shard in shards]
        assert sum(sizes) == len(whole) == options.rows
        print(f"{options.rows:,} rows; {options.shards} shards of {min(sizes):,} to {max(sizes):,}")
        for name, threshold, limit in KINDS:
            compare(name, whole, shards, queries, threshold, limit)
        for shard in shards:
            shard.send(None)
        whole.close()


def compare(
    name: str,
    whole: CascadeIndex,
    shards: Sequence[Connection],
    queries: Sequence[Signals],
    threshold: float,
    limit: int | None,
) -> None:
    hits, alone_ms, slowest_ms = 0, [], []
    for query in queries:
        started = time.process_time()
        (expected,) = whole.search([query], WEIGHTS, threshold, limit)
        alone_ms.append((time.process_time() - started) * 1e3)
        for shard in shards:
            shard.send((query, threshold, limit))
        answers = [shard.recv() for shard in shards]
        slowest_ms.append(max(spent for _, spent in answers))
        found = list(islice(merge(*(each for each, _ in answers), key=order), limit))
        assert found == expected, (name, query)
        hits += len(found)
    print(
        f"{name}: {len(queries)} answers of {hits} hits are equal; CPU of a question, mean: "
        f"{np.mean(alone_ms):.1f} ms in a single index, {np.mean(slowest_ms):.1f} ms in the slowest shard"
    )


def order(hit: Hit) -> tuple[float, ContentId]:
    return -hit.score, hit.content


def start(folder: str, rows: int, number: int, of: int) -> Connection:
    """A process that answers; its first message is the number of its rows."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    context.Process(target=serve, args=(its, folder, rows, number, of), daemon=True).start()
    return ours


def serve(asked: Connection, folder: str, rows: int, number: int, of: int) -> None:
    data = vectors.Set(*(np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in vectors.Set._fields))
    index = CascadeIndex.open(f"{folder}/{number}", Shard(data, rows, number, of), "benchmark")
    asked.send(len(index))
    while (question := asked.recv()) is not None:
        query, threshold, limit = question
        started = time.process_time()
        (hits,) = index.search([query], WEIGHTS, threshold, limit)
        asked.send((hits, (time.process_time() - started) * 1e3))
    index.close()


def made_base() -> vectors.Set:
    """Signals in clusters, as those of photos and their edits are."""
    random = np.random.default_rng(4)
    near = random.integers(0, CENTRES, BASE)
    fv = random.standard_normal((CENTRES, WIDTH))[near] + 0.6 * random.standard_normal((BASE, WIDTH))
    fv[:, -1] = 0.5 * np.linalg.norm(fv[:, :-1], axis=1)
    fv /= np.linalg.norm(fv, axis=1, keepdims=True)
    bits = random.integers(0, 2, (2, CENTRES, 64), np.uint8)[:, near] ^ (random.random((2, BASE, 64)) < 0.08)
    ah, dh = (np.packbits(each.astype(np.uint8), axis=1).view(np.uint64).ravel() for each in bits)
    return vectors.Set(ah, dh, fv.astype(np.float16))


def concatenated(blocks: Sequence[vectors.Set]) -> vectors.Set:
    return vectors.Set(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


if __name__ == "__main__":
    main()

"""How fast is the index, is it exact, and what does it cost? One command, one table:

    python -m benchmarks.index --cache DIR [--sizes 10000,100000,1000000,3000000] [--join 100000] [--peers 100000]

Parts are left out with ``--sizes ""``, ``--join 0`` and ``--peers 0``. Tables are as index.md has them. Signals come
from ``vectors``: the queries are real photos and edits that the rows were not made from. All on one core.
``--cache`` keeps what was made (0.5 GB a million for the vectors, 0.8 GB for each index). ``--peers`` needs faiss-cpu.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy: one core for a query

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import vectors
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index import exact
from shazimd.index.cascade import CascadeIndex
from shazimd.index.scan import TableView
from shazimd.text import all_weights
from shazimd.types import DEFAULT_WEIGHTS, ContentId, Weights

PHOTOS, EDITS = 1400, 14
HELD_OUT = 200
BLOCK = 20_000
"""Rows that are made at once."""
WEIGHTS = DEFAULT_WEIGHTS
VECTOR_ALONE = all_weights((0.0, 0.0, 1.0))
QUANTILES = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999]


class Made:
    """The first ``count`` of the generated rows, as the store would give them."""

    def __init__(self, data: vectors.Set, count: int) -> None:
        self.data, self.count = data, count

    def signals(self, _model: str | None, after: ContentId = 0) -> Iterator[tuple[ContentId, Signals]]:
        return ((row + 1, signals(self.data, row)) for row in range(after, self.count))

    def without_vector(self, _model: str, _after: ContentId = 0) -> Iterator[ContentId]:
        return iter(())

    def removals(self, _after: int = 0) -> Iterator[tuple[int, ContentId]]:
        return iter(())

    def fingerprint(self, content: ContentId, model: str | None) -> Fingerprint:
        if content > self.count:
            raise KeyError(content)
        return Fingerprint(signals(self.data, content - 1), model, 1, 1, "")


def signals(data: vectors.Set, row: int) -> Signals:
    return Signals((int(data.ah[row]), int(data.dh[row])), data.fv[row].astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sizes", default="10000,100000,1000000,3000000")
    parser.add_argument("--join", type=int, default=100_000)
    parser.add_argument("--peers", type=int, default=100_000)
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",") if size]
    base, asked = split(vectors.real(options.cache))
    data = scaled(options.cache, base, max([*sizes, options.join, options.peers, options.serve]))
    queries = [signals(asked, row) for row in range(HELD_OUT)]
    if options.serve:
        serve(options.cache, data, options.serve, queries)
        return
    if sizes:
        print_distributions(base, data, asked)
        print(f"\nMemory bandwidth, one core: {bandwidth():.1f} GB/s\n")
        print_table(sizes, [measure(options.cache, data, size, queries) for size in sizes])
    if options.peers:
        peers(data, options.peers, queries)
    if options.join:
        join(options.cache, data, options.join)


def split(real: vectors.Set) -> tuple[vectors.Set, vectors.Set]:
    """What rows are made from, and queries: one edit each of photos that the former do not have, and of as many that
    they do have."""
    random = np.random.default_rng(3)
    order = random.permutation(PHOTOS)
    photo = np.arange(len(real.ah)) // EDITS
    chosen = order[:HELD_OUT] * EDITS + random.integers(0, EDITS, HELD_OUT)
    kept = ~np.isin(photo, order[: HELD_OUT // 2])
    kept[chosen] = False
    return take(real, np.flatnonzero(kept)), take(real, chosen)


def take(data: vectors.Set, rows: NDArray[np.intp] | slice) -> vectors.Set:
    return vectors.Set(data.ah[rows], data.dh[rows], data.fv[rows])


def scaled(cache: Path, base: vectors.Set, count: int) -> vectors.Set:
    """At least ``count`` rows like the real ones, made once; fewer are the first of more."""
    kept = [int(file.stem.partition("-")[2]) for file in cache.glob("fv-*.npy")]
    count = min((one for one in kept if one >= count), default=-(-count // BLOCK) * BLOCK)
    files = [cache / f"{name}-{count}.npy" for name in vectors.Set._fields]
    if not all(file.exists() for file in files):
        shapes = [(count,), (count,), (count, base.fv.shape[1])]
        kinds = zip(files, ("u8", "u8", "f2"), shapes, strict=True)
        out = [np.lib.format.open_memmap(file, "w+", dtype, shape) for file, dtype, shape in kinds]
        at = 0
        for block in vectors.scaled(base, count, block=BLOCK):
            rows = slice(at, at := at + len(block.ah))
            out[0][rows], out[1][rows], out[2][rows] = block
    return vectors.Set(*(np.load(file, mmap_mode="r") for file in files))


def print_distributions(base: vectors.Set, data: vectors.Set, asked: vectors.Set) -> None:
    print("Quantiles over all pairs of a query and a row:", *QUANTILES)
    for name, rows in (("real", base), ("generated", take(data, slice(20_000)))):
        cosines = asked.fv.astype(np.float32) @ rows.fv.astype(np.float32).T
        hashes = sum(1 - np.bitwise_count(a[:, None] ^ b) / 64 for a, b in ((asked.ah, rows.ah), (asked.dh, rows.dh)))
        for signal, values in (("cosine", cosines), ("hashes", hashes / 2), ("score", (2 * cosines + hashes) / 4)):
            print(f"{name:10} {signal:7}", *(f"{q:.3f}" for q in np.quantile(values, QUANTILES)))


def bandwidth() -> float:
    big = np.ones(50_000_000)
    return big.nbytes / 1e6 / median_ms(big.sum, [()] * 5)


class Measured(NamedTuple):
    cells: dict[str, str]
    """a column of the table"""
    median_ms: float
    cpu_ms: float
    """both at .75"""


def measure(cache: Path, data: vectors.Set, size: int, queries: Sequence[Signals]) -> Measured:
    """Build (or open) the index of so many rows, check it, and search."""
    print(f"{size:,} rows ...", file=sys.stderr, flush=True)
    started = time.perf_counter()
    index = CascadeIndex.open(str(cache / f"index-{size}"), Made(data, size), "benchmark")
    built = time.perf_counter() - started
    if built > 3:
        index.compact()
        print(f"{size:,} rows: built in {built:.0f} s, {size / built:,.0f} rows/s")
    assert len(index) == size
    brute_ms = check(index, index._views, queries[: 10 if size <= 1_000_000 else 3])
    times, cells = search_times(index, queries)
    cells["comparing with every row, wall"] = f"{brute_ms:,.0f} ms"
    new = [(size + 1 + row, queries[row % len(queries)]) for row in range(200)]
    cells["add one, wall median"] = f"{np.median(timed(lambda row: index.add([row]), new)):.2f} ms"
    index.remove([content for content, _ in new])
    index.close()
    used = sum(file.stat().st_blocks * 512 for file in (cache / f"index-{size}").rglob("*"))
    cells["disk, bytes a row"] = f"{used / size:,.0f}"
    again = [sys.executable, "-m", "benchmarks.index", "--cache", str(cache), "--serve", str(size), "--sizes", ""]
    cells |= json.loads(subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return Measured(cells, *times)


def print_table(sizes: Sequence[int], measured: Sequence[Measured]) -> None:
    print("Equal to the scores of all rows for 10 queries (3 beyond a million) at .7, .75 and .9, to the last bit.\n")
    print("|  |", *(f"{size:,} |" for size in sizes))
    print("|" + "---|" * (len(sizes) + 1))
    for label in measured[0].cells:
        print(f"| {label} |", *(f"{one.cells[label]} |" for one in measured))
    if len(sizes) > 1:
        for what, values in (("median", [m.median_ms for m in measured]), ("mean CPU", [m.cpu_ms for m in measured])):
            slope = np.polyfit(np.log(sizes), np.log(values), 1)[0]
            print(f"\nGrowth of the {what} at .75 with N, fitted to all sizes: exponent {slope:.2f}")


def search_times(index: CascadeIndex, queries: Sequence[Signals]) -> tuple[tuple[float, float], dict[str, str]]:
    """(median, mean CPU) in ms at .75, and a cell for each way to ask."""
    kinds: list[tuple[str, Weights, float, int | None]] = [
        ("threshold .75: CPU mean; wall median, 99 %", WEIGHTS, 0.75, None),
        ("threshold .8", WEIGHTS, 0.8, None),
        ("threshold .9", WEIGHTS, 0.9, None),
        ("best 20, no threshold", WEIGHTS, 0.0, 20),
        ("best 10 from .6", WEIGHTS, 0.6, 10),
        ("the vector alone, best 10", VECTOR_ALONE, 0.0, 10),
        ("the vector alone, best 5 from .9", VECTOR_ALONE, 0.9, 5),
    ]
    cells, all_times = {}, []
    for what, weights, threshold, limit in kinds:
        search = partial(index.search, weights=weights, threshold=threshold, limit=limit)
        cpu = time.thread_time()
        spent = timed(search, [[query] for query in queries])
        cpu_ms = (time.thread_time() - cpu) / (len(queries) + 1) * 1e3
        median, p99 = np.percentile(spent, [50, 99])
        all_times.append((float(median), cpu_ms))
        cells[what] = f"{cpu_ms:.2f}; {median:.2f}, {p99:.1f} ms"
    batches = [(queries[start : start + 32],) for start in range(0, 160, 32)]
    cpu = time.thread_time()
    timed(lambda batch: index.search(batch[0], WEIGHTS, 0.75), batches)
    cells["32 at once, .75, CPU each"] = f"{(time.thread_time() - cpu) / (32 * (len(batches) + 1)) * 1e3:.2f} ms"
    return all_times[0], cells


def check(index: CascadeIndex, views: Sequence[TableView], queries: Sequence[Signals]) -> float:
    """Compare with the exact scores of all rows, and say how many ms those take a query."""
    spent = 0.0
    for query in queries:
        started = time.perf_counter()
        asked = exact.ask(query, None)
        every = [exact.score(asked, rows, WEIGHTS).at_least(0.7) for view in views for rows in living(view)]
        spent += time.perf_counter() - started
        for threshold in (0.7, 0.75, 0.9):
            expected = exact.rank([one.at_least(threshold) for one in every], None)
            assert [expected] == index.search([query], WEIGHTS, threshold)
    return spent / len(queries) * 1e3


def living(view: TableView) -> Iterator[exact.Rows]:
    order = view.order()
    return (view.rows(order[start : start + 512]) for start in range(0, len(order), 512))


def serve(cache: Path, data: vectors.Set, size: int, queries: Sequence[Signals]) -> None:
    """What a new process needs: time to the first answer, and memory after all queries."""
    before = status("RssAnon")
    started = time.perf_counter()
    index = CascadeIndex.open(str(cache / f"index-{size}"), Made(data, size), "benchmark")
    index.search(queries[:1], WEIGHTS, 0.75)
    ready = time.perf_counter() - started
    for query in queries:
        index.search([query], WEIGHTS, 0.75)
    own, mapped = status("RssAnon") - before, status("RssFile")
    told = {
        "a new process answers after": f"{ready:.2f} s",
        "resident: its own, after 200 searches": f"{own:.0f} MiB",
        "resident: mapped files, all that was touched": f"{mapped:,.0f} MiB",
    }
    print(json.dumps(told))
    index.close()


def status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def peers(data: vectors.Set, count: int, queries: Sequence[Signals]) -> None:
    """The same search in faiss, by the one inner product of ``search.score``, whose derivation stands there."""
    import faiss

    faiss.omp_set_num_threads(1)
    print(
        f"\nPeers, {count:,} rows, threshold .75, one thread\n\n| | ms a query, wall median | recall |\n|---|---|---|"
    )
    rows = np.stack([row_vector(signals(data, row)) for row in range(count)])
    asked = [query_vector(query, WEIGHTS) for query in queries[:50]]
    print(f"| numpy float32 | {median_ms(lambda q, c: np.flatnonzero(rows @ q >= 0.75 - c), asked):.1f} | 1 |")
    truth = [set(np.flatnonzero(rows @ q >= 0.75 - c).tolist()) for q, c in asked]
    for name in ("Flat", "SQ8", f"IVF{int(4 * count**0.5)},SQ8"):
        index = faiss.index_factory(rows.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        index.train(rows[:: max(1, count // 50_000)])
        index.add(rows)
        for probes in (1, 16, 64) if "IVF" in name else (0,):
            if probes:
                faiss.ParameterSpace().set_index_parameter(index, "nprobe", probes)
            found = [set(index.range_search(q[None], 0.75 - c)[2].tolist()) for q, c in asked]
            recall = sum(len(a & b) for a, b in zip(truth, found, strict=True)) / max(1, sum(map(len, truth)))
            p50 = median_ms(lambda q, c: index.range_search(q[None], 0.75 - c), asked)  # noqa: B023  # used at once
            print(f"| faiss {name}{f', nprobe {probes}' if probes else ''} | {p50:.1f} | {recall:.3f} |", flush=True)


def row_vector(row: Signals) -> NDArray[np.float32]:
    ah, dh, fv = (_plus_minus_one(row.hashes[0]), _plus_minus_one(row.hashes[1]), row.fv)
    assert fv is not None
    return np.concatenate([ah / 8, dh / 8, fv], dtype=np.float32)


def query_vector(query: Signals, weights: Weights) -> tuple[NDArray[np.float32], float]:
    """(q, c) with the score of a row as <q, row> + c."""
    w1, w2, w3 = (w / sum(weights) for w in weights)
    ah, dh, fv = (_plus_minus_one(query.hashes[0]), _plus_minus_one(query.hashes[1]), query.fv)
    assert fv is not None
    return np.concatenate([w1 / 16 * ah, w2 / 16 * dh, w3 * fv], dtype=np.float32), (w1 + w2) / 2


def _plus_minus_one(bits: int | None) -> NDArray[np.float32]:
    assert bits is not None
    return np.unpackbits(np.frombuffer(bits.to_bytes(8, "big"), np.uint8)).astype(np.float32) * 2 - 1


def join(cache: Path, data: vectors.Set, count: int) -> None:
    index = CascadeIndex.open(str(cache / f"index-{count}"), Made(data, count), "benchmark")
    started, cpu = time.perf_counter(), time.process_time()
    found = sum(len(hits) for _, hits in index.pairs(WEIGHTS, 0.75))
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"\nSelf-join of {count:,} rows at .75: {wall:.0f} s, CPU {cpu:.0f} s, {found:,} pairs")
    index.close()


def timed(work: Callable[[Any], object], arguments: Sequence[Any]) -> list[float]:
    work(arguments[0])
    spent = []
    for argument in arguments:
        started = time.perf_counter()
        work(argument)
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def median_ms(work: Callable[..., object], arguments: Sequence[Any]) -> float:
    return float(np.median(timed(lambda argument: work(*argument), arguments)))


if __name__ == "__main__":
    main()

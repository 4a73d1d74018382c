"""How far does one daemon go, and what does it hold in memory? One command, two tables:

    python -m benchmarks.million --folder DIR [--rows 10000,100000] [--small] [--questions 40] [--ingest 100]

A store of so many rows is made from the real photos of $SHAZIMD_SHARED, without drawing or encoding a picture for each:

- the first rows are the photos themselves, as the workers fingerprint them with the bundled model,
- another row has hashes and a vector between those of a real photo and of one that is like it (``vectors.scaled``),
  and the small picture and key points of a real photo, with words drawn from the words of all photos: as frequent as
  real ones, but another picture's. So its record has the bytes of a real one, and a question about a photo finds the
  photo, not each row made from it,
- one in ten is stored as a copy of the row before: a group of two,
- each has a file of its own that takes no blocks on the disk, a thousand to a directory, with the stat of its row.

``--small`` keeps the small pictures at a quarter of their size: 8 kB a row on the disk in place of 16. The daemon opens
them for candidates alone.

Index and words are made as the daemon makes them. The daemon then starts on the store twice: at first it looks at all
files once; the second start is the one that is told. ``--ingest`` photos, cut anew, land afterwards, and memory is told
when they are known, and when all has been at rest for a minute.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy, as in the daemon: threads that spin would count

import argparse
import hashlib
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil

from benchmarks import vectors
from benchmarks.filling import relate
from benchmarks.main_job import STRANGERS_EVERY, answers_ms, cut
from benchmarks.resident import COLUMNS, printed, table
from benchmarks.running import cpu_s, is_settled, started, wait_until
from shazimd.client import Client
from shazimd.errors import ShazimdError
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.cascade import CascadeIndex
from shazimd.ingest.values import set_judge_of_relations
from shazimd.models.model import ModelInfo, bundled
from shazimd.search.library import Library
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import JUDGE, Evidence, FileRow, FileState, Stat
from shazimd.words.packing import DRAWN, FEATURE, HEADER, VERSION, split
from shazimd.workers.keeper import IDLE_S
from shazimd.workers.pool import WorkerPool

MAX_PIXELS = 100_000_000
BATCH = 1000
"""Rows in a transaction, and files in a directory."""
COPY_EVERY = 10
MAP_GB = 64
CONFIG = "[workers]\nprocesses = 2\n"
CROP = Evidence(("crop",), (), 0.5)


def fingerprints(photos: Sequence[Path], model: ModelInfo, kept: Path) -> list[Fingerprint]:
    """The fingerprints of real photos, made by the workers once (a minute) and kept in a file."""
    if not kept.exists():
        with WorkerPool(2, 2048, 60.0, MAX_PIXELS, model=model) as pool:
            futures = [pool.fingerprint(photo.read_bytes(), model) for photo in photos]
            kept.write_bytes(pickle.dumps([future.result() for future in futures]))
    found: list[Fingerprint] = pickle.loads(kept.read_bytes())
    return found


def made(base: Sequence[Fingerprint], count: int) -> Iterator[Fingerprint]:
    """``count`` fingerprints: those of ``base``, then others like them; see the module."""
    random = np.random.default_rng(1)
    yield from base[:count]
    words = np.concatenate([_rows(each.features)["word"] for each in base if each.features])
    signals = vectors.Set(
        np.array([each.signals.hashes[0] for each in base], np.uint64),
        np.array([each.signals.hashes[1] for each in base], np.uint64),
        np.array([each.signals.fv for each in base], np.float16),
    )
    for block in vectors.scaled(signals, max(0, count - len(base))):
        for ah, dh, fv in zip(*block, strict=True):
            source = base[int(random.integers(len(base)))]
            features = _with_words(source.features, words, random)
            own = Signals((int(ah), int(dh)), fv.astype(np.float32))
            yield replace(source, signals=own, features=features, pixels=random.bytes(16), turned=_turned(random))


def smaller(fingerprint: Fingerprint) -> Fingerprint:
    """The fingerprint with a small picture of a quarter of its size."""
    packed = split(fingerprint.features)
    picture = cv2.imdecode(np.frombuffer(packed.picture, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    quarter = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", quarter, [cv2.IMWRITE_JPEG_QUALITY, 30])[1].tobytes()
    head = HEADER.pack(VERSION, packed.flags & DRAWN, packed.width, packed.height, len(packed.rows))
    return replace(fingerprint, features=head + packed.rows.tobytes() + encoded)


def _rows(features: bytes | bytearray) -> np.ndarray:
    return np.frombuffer(features, FEATURE, HEADER.unpack_from(features)[4], HEADER.size)


def _with_words(features: bytes, words: np.ndarray, random: np.random.Generator) -> bytes:
    packed = bytearray(features)
    if packed:
        rows = _rows(packed)
        rows["word"] = random.choice(words, len(rows))
    return bytes(packed)


def _turned(random: np.random.Generator) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in random.integers(0, 1 << 63, (7, 2), np.uint64))


def fill(folder: Path, rows: Iterator[Fingerprint]) -> float:
    """Write the store and the files; rows a second of processor time of the writes alone."""
    spent, number = 0.0, 0
    root = folder / "root"
    with closing(open_store(str(folder / "store"), MAP_GB << 30, VERSION)) as store:
        store.write(lambda writer: set_judge_of_relations(writer, JUDGE))
        while batch := list(islice(rows, BATCH)):
            files = _files(root / f"{number // BATCH:04}", len(batch))
            begin = time.process_time()
            store.write(partial(_put, batch=batch, files=files, number=number))
            spent += time.process_time() - begin
            number += len(batch)
    return number / spent


def _put(writer: Writer, batch: list[Fingerprint], files: Mapping[bytes, Stat], number: int) -> None:
    before = None
    for at, (fingerprint, (path, stat)) in enumerate(zip(batch, files.items(), strict=True), number):
        digest = hashlib.blake2b(b"%d" % at, digest_size=32).digest()
        content = writer.add_content(digest, fingerprint, related=False, held=True)
        writer.put_file(path, FileRow(stat, FileState.INDEXED, content))
        if at % COPY_EVERY == 0 and before is not None:
            relate(writer, content, before, evidence=CROP)
        before = content


def _files(directory: Path, count: int) -> dict[bytes, Stat]:
    """New files, and their stats."""
    directory.mkdir(parents=True)
    found = {}
    for number in range(count):
        path = os.fsencode(directory / f"{number:03}.jpg")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, 50_000)
        seen = os.fstat(fd)
        os.close(fd)
        found[path] = Stat.of(seen)
    return found


class Measured(NamedTuple):
    figures: dict[str, float]
    memory: list[list[str]]


def make(folder: Path, photos: Sequence[Path], count: int, *, small: bool) -> dict[str, float]:
    """Make a store of ``count`` rows in an empty folder, with its index and words; the figures of that."""
    base = fingerprints(photos, bundled(), folder.parent / f"photos-{VERSION}.pickle")
    rows = made([smaller(each) for each in base] if small else base, count)
    figures = {"stored, rows/s of processor time": fill(folder, rows)}
    figures["store on the disk, bytes a row"] = _bytes_of(folder / "store") / count
    with closing(open_store(str(folder / "store"), MAP_GB << 30, VERSION)) as store:
        begin = time.process_time()
        with closing(Library(store, _index, bundled())) as library:
            library.loaded.result()
        figures["index and words, rows/s of processor time"] = count / (time.process_time() - begin)
    with started(folder, CONFIG, model="bundled") as (_, client):
        _wait(lambda: is_settled(client))
    figures["index and words on the disk, bytes a row"] = _bytes_of(folder / "store" / "index") / count
    return figures


def _index(store: Store, model: str | None) -> CascadeIndex:
    with store.read() as reader:
        return CascadeIndex.open(os.path.join(store.info()["path"], "index"), reader, model)


def measure(folder: Path, known: list[Path], strangers: list[Path], questions: int, ingest: int) -> Measured:
    """Start a daemon on a store of ``make``, and ask it; ``known``: the photos it was made from."""
    figures, memory = {}, []
    begin = time.monotonic()
    with started(folder, CONFIG, model="bundled") as (process, client):
        _wait(lambda: _answers(client))
        figures["start: answers after, s"] = time.monotonic() - begin
        figures["start: processor time until then, s"] = cpu_s(process)
        _wait(lambda: is_settled(client))
        figures["start: all files compared after, s"] = time.monotonic() - begin
        figures["start: processor time until then, s "] = cpu_s(process)
        memory += _memory("started", process)
        for what, asked in (("known", known), ("unknown", strangers)):
            spent = _cpu_of_all(process)
            took = answers_ms(client, asked, questions)
            figures[f"question, {what}: server, median ms"] = statistics.median(took)
            figures[f"question, {what}: processor time of all processes, ms"] = (
                1e3 * (_cpu_of_all(process) - spent) / questions
            )
        figures |= _duplicates(process, client)
        memory += _memory("asked", process)
        for number in range(ingest):
            cut(known[number * 7 % len(known)], folder / "root" / f"new{number}.jpg", 0.3)
        if ingest:
            _wait(lambda: is_settled(client))
            memory += _memory("ingested", process)
        time.sleep(IDLE_S + 5)
        memory += _memory("a minute later", process)
    return Measured(figures, memory)


def _duplicates(process: psutil.Process, client: Client) -> dict[str, float]:
    begin, spent = time.monotonic(), cpu_s(process)
    groups = client.duplicates()
    next(groups, None)
    first, spent_first = time.monotonic() - begin, cpu_s(process) - spent
    rest = sum(1 for _ in groups)
    return {
        "duplicates: first group after, s": first,
        "duplicates: processor time until then, s": spent_first,
        "duplicates: all groups after, s": time.monotonic() - begin,
        "duplicates: processor time until then, s ": cpu_s(process) - spent,
        "duplicates: groups": rest + 1,
    }


def _cpu_of_all(process: psutil.Process) -> float:
    return sum(map(cpu_s, [process, *process.children()]))


def _memory(when: str, process: psutil.Process) -> list[list[str]]:
    named = [("daemon", process.pid), *((f"worker {child.pid}", child.pid) for child in process.children())]
    return table((f"{when}: {name}", pid) for name, pid in named)


def _bytes_of(folder: Path) -> int:
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def _answers(client: Client) -> bool:
    try:
        client.status()
    except ShazimdError:
        return False
    return True


def _wait(condition: Callable[[], object]) -> None:
    wait_until(condition, timeout_s=3600)


def exponent(rows: Sequence[int], values: Sequence[float]) -> float:
    """The power of the number of rows with which a value grows, fitted to all."""
    return float(np.polyfit(np.log(rows), np.log(np.maximum(values, 1e-9)), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--ingest", type=int, default=100)
    options = parser.parse_args()
    known = sorted((vectors.shared() / "data" / "photos").rglob("*.jpg"))
    if not known:
        raise SystemExit(f"{vectors.shared()}: no photos there; set SHAZIMD_SHARED")
    strangers = known[::STRANGERS_EVERY]
    del known[::STRANGERS_EVERY]
    options.folder.mkdir(parents=True, exist_ok=True)
    sizes, told = [int(size) for size in options.rows.split(",")], []
    for count in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            figures = make(Path(name), known, count, small=options.small)
            found = measure(Path(name), known, strangers, options.questions, options.ingest)
        told.append(figures | found.figures)
        print(f"{count:,} rows\n\n{printed(('MiB', *COLUMNS), found.memory)}\n", flush=True)
    print(printed(["", *(f"{size:,}" for size in sizes), "grows with"], [_row(name, told, sizes) for name in told[0]]))


def _row(name: str, told: Sequence[dict[str, float]], sizes: Sequence[int]) -> list[str]:
    values = [each[name] for each in told]
    growth = f"N^{exponent(sizes, values):.2f}" if len(sizes) > 1 else ""
    return [name, *(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values), growth]


if __name__ == "__main__":
    main()

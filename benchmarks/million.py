"""How far does one daemon go, and what does it hold in memory? One command, two tables:

    python -m benchmarks.million --folder DIR [--rows 10000,100000] [--plain] [--questions 40] [--ingest 100]

A store of so many rows is made from the real photos of $SHAZIMD_SHARED, without drawing or encoding a picture for each:

- the first rows are the photos themselves, as the workers fingerprint them with the bundled model,
- another row has hashes and a vector between those of a real photo and of one that is like it (``vectors.scaled``),
  and the small picture and key points of a real photo, with words drawn from the words of all photos: as frequent as
  real ones, but another picture's. So its record has the bytes of a real one, and a question about a photo finds the
  photo, not each row made from it,
- one in ten is stored as a copy of the row before: a group of two,
- each has a file of its own that takes no blocks on the disk, a thousand to a directory, with the stat of its row.

``--plain`` leaves the local features out, as ``verify = false`` does: 1 kB a row on the disk in place of 9.

The daemon then starts on the store twice: at first it makes its index and words, and looks at all files once; the
second start is the one that is told. ``--ingest`` photos, cut anew, land afterwards, and memory is told when they are
known, and when all has been at rest for a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import os
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

import numpy as np
import psutil

from benchmarks import vectors
from benchmarks.filling import relate
from benchmarks.main_job import STRANGERS_EVERY, answers_ms, cut
from benchmarks.resident import COLUMNS, printed, table
from benchmarks.running import cpu_s, is_settled, started, wait_until
from shazimd.client import Client
from shazimd.errors import ShazimdError
from shazimd.ingest.values import set_judge_of_relations
from shazimd.models.model import ModelInfo, bundled
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import JUDGE, Evidence, FileRow, FileState, Fingerprint, Signals, Stat
from shazimd.words.packing import FEATURE, HEADER, VERSION
from shazimd.workers.keeper import IDLE_S
from shazimd.workers.pool import WorkerPool

MAX_PIXELS = 100_000_000
BATCH = 1000
"""Rows in a transaction, and files in a directory."""
COPY_EVERY = 10
MAP_GB = 64
CROP = Evidence(("crop",), (), 0.5)


def fingerprints(photos: Sequence[Path], model: ModelInfo, kept: Path) -> list[Fingerprint]:
    """The fingerprints of real photos, made by the workers once (a minute) and kept in a file."""
    if not kept.exists():
        with WorkerPool(2, 2048, 60.0, MAX_PIXELS, model=model) as pool:
            futures = [pool.fingerprint(photo.read_bytes(), model) for photo in photos]
            kept.write_bytes(pickle.dumps([future.result() for future in futures]))
    found: list[Fingerprint] = pickle.loads(kept.read_bytes())
    return found


def made(base: Sequence[Fingerprint], count: int, *, plain: bool) -> Iterator[Fingerprint]:
    """``count`` fingerprints: those of ``base``, then others like them; see the module."""
    random = np.random.default_rng(1)
    yield from (replace(each, features=b"") if plain else each for each in base[:count])
    words = np.concatenate([_rows(each.features)["word"] for each in base if each.features])
    signals = vectors.Set(
        np.array([each.signals.hashes[0] for each in base], np.uint64),
        np.array([each.signals.hashes[1] for each in base], np.uint64),
        np.array([each.signals.fv for each in base], np.float16),
    )
    for block in vectors.scaled(signals, max(0, count - len(base))):
        for ah, dh, fv in zip(*block, strict=True):
            source = base[int(random.integers(len(base)))]
            features = b"" if plain else _with_words(source.features, words, random)
            own = Signals((int(ah), int(dh)), fv.astype(np.float32))
            yield replace(source, signals=own, features=features, pixels=random.bytes(16), turned=_turned(random))


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


def fill(folder: Path, rows: Iterator[Fingerprint], *, plain: bool) -> float:
    """Write the store and the files; rows a second of processor time of the writes alone."""
    spent, number = 0.0, 0
    root = folder / "root"
    with closing(open_store(str(folder / "store"), MAP_GB << 30, VERSION)) as store:
        store.write(lambda writer: set_judge_of_relations(writer, JUDGE))
        while batch := list(islice(rows, BATCH)):
            files = _files(root / f"{number // BATCH:04}", len(batch))
            begin = time.process_time()
            store.write(partial(_put, batch=batch, files=files, number=number, plain=plain))
            spent += time.process_time() - begin
            number += len(batch)
    return number / spent


def _put(writer: Writer, batch: list[Fingerprint], files: Mapping[bytes, Stat], number: int, *, plain: bool) -> None:
    before = None
    for at, (fingerprint, (path, stat)) in enumerate(zip(batch, files.items(), strict=True), number):
        digest = hashlib.blake2b(b"%d" % at, digest_size=32).digest()
        content = writer.add_content(digest, fingerprint, related=False, held=True)
        writer.put_file(path, FileRow(stat, FileState.INDEXED, content))
        if at % COPY_EVERY == 0 and before is not None and not plain:
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
    rows: int
    figures: dict[str, float]
    memory: list[list[str]]


def measure(folder: Path, photos: Sequence[Path], count: int, options: argparse.Namespace) -> Measured:
    """Make a store of ``count`` rows in an empty folder, and measure the daemon on it."""
    strangers = list(photos[::STRANGERS_EVERY])
    known = [photo for photo in photos if photo not in set(strangers)]
    base = fingerprints(known, bundled(), folder.parent / f"photos-{VERSION}.pickle")
    figures = {
        "stored, rows/s of processor time": fill(folder, made(base, count, plain=options.plain), plain=options.plain)
    }
    figures["store on the disk, bytes a row"] = _bytes_of(folder / "store") / count
    config = "[workers]\nprocesses = 2\n[match]\nverify = false\n" if options.plain else "[workers]\nprocesses = 2\n"
    with started(folder, config, model="bundled") as (process, client):
        _wait(lambda: is_settled(client))
        figures["first start, index and words made, s of processor time"] = cpu_s(process)
    figures["index and words on the disk, bytes a row"] = _bytes_of(folder / "store" / "index") / count
    memory = []
    begin = time.monotonic()
    with started(folder, config, model="bundled") as (process, client):
        _wait(lambda: _answers(client))
        figures["start: answers after, s"] = time.monotonic() - begin
        figures["start: the daemon's processor time until then, s"] = cpu_s(process)
        _wait(lambda: is_settled(client))
        figures["start: all files compared after, s"] = time.monotonic() - begin
        memory += _memory("started", process)
        if options.questions:
            for what, asked in (("known", known), ("unknown", strangers)):
                took = answers_ms(client, asked, options.questions)
                figures[f"question, {what}, server, median ms"] = statistics.median(took)
        figures |= _duplicates(client)
        memory += _memory("asked", process)
        for number in range(options.ingest):
            cut(known[number * 7 % len(known)], folder / "root" / f"new{number}.jpg", 0.3)
        if options.ingest:
            _wait(lambda: is_settled(client))
            memory += _memory("ingested", process)
        time.sleep(IDLE_S + 5)
        memory += _memory("a minute later", process)
    return Measured(count, figures, memory)


def _duplicates(client: Client) -> dict[str, float]:
    begin = time.monotonic()
    groups = client.duplicates()
    next(groups, None)
    first = time.monotonic() - begin
    rest = sum(1 for _ in groups)
    return {
        "duplicates: first group, s": first,
        "duplicates: all groups, s": time.monotonic() - begin,
        "duplicates: groups": rest + 1,
    }


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
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--ingest", type=int, default=100)
    options = parser.parse_args()
    photos = sorted((vectors.shared() / "data" / "photos").rglob("*.jpg"))
    if not photos:
        raise SystemExit(f"{vectors.shared()}: no photos there; set SHAZIMD_SHARED")
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = []
    for count in map(int, options.rows.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measured.append(measure(Path(folder), photos, count, options))
        print(f"\n{printed(('MiB', *COLUMNS), measured[-1].memory)}\n", flush=True)
    sizes = [each.rows for each in measured]
    head = ["", *(f"{size:,}" for size in sizes), *(["grows with"] if len(sizes) > 1 else [])]
    print(printed(head, [_figures(name, measured, sizes) for name in measured[0].figures]))


def _figures(name: str, measured: Sequence[Measured], sizes: Sequence[int]) -> list[str]:
    values = [each.figures[name] for each in measured]
    growth = [f"N^{exponent(sizes, values):.2f}"] if len(sizes) > 1 else []
    return [name, *(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values), *growth]


if __name__ == "__main__":
    main()

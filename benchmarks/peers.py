"""What does a photograph cost, beside its decoder and beside other tools?

    python -m benchmarks.peers [--pictures 24] [--kinds small.jpg,12mp.jpg,24mp.jpg,12mp.heic,12mp.png] [--no-cold]
                               [--python PYTHON] [--model SAVED_MODEL] [--tools decoder,shazimd,original]

Told are milliseconds a picture: of processor time, of all processes of a tool, and of wall time, with the files in the
cache and with the files dropped from it. A tool's start does not count: the daemon already runs when the folder is
moved in, which is silent as a first scan is; of other tools the run over a folder of one picture is taken off the run
over a folder of --pictures more. Wall time of the daemon includes its quiet time, here 50 ms for all pictures
together.

PYTHON has the extra ``peers``; a tool that it lacks is passed over with the reason. The original's loop is run with its
model, SAVED_MODEL.

Pictures of 400 pixels are shared photos as they are, or written anew as HEIC or PNG; there are ten times as many.
Large ones are made of shared photos: enlarged with Lanczos to cover 4,000 x 3,000 or 6,000 x 4,000 pixels, with
Gaussian noise of 3 levels for each pixel and channel, which a sensor has and an enlargement lacks, and written as JPEG
(quality 92, 4:2:0; 2 and 4 MB), as HEIC (quality 65) or as PNG.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pillow_heif
import psutil
from PIL import Image, ImageOps

from benchmarks.quality.photos import shared_folder
from benchmarks.running import PATIENCE_S, is_settled, wait_until
from shazimd.client import Client

SIZES = {"small": None, "12mp": (4000, 3000), "24mp": (6000, 4000)}
KINDS = "small.jpg,12mp.jpg,24mp.jpg,12mp.heic,12mp.png"
SMALL_MORE = 10
NOISE = 3.0
QUIET_S = 1.0
QUIET_CPU_S = 0.02
"""Of a daemon at rest: its workers have started."""
SETTINGS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 92, "subsampling": "4:2:0"},
    "heic": {"format": "HEIF", "quality": 65},
    "png": {"format": "PNG", "compress_level": 1},
}
DECODERS = """
import sys, pathlib
from PIL import Image
import pillow_heif
pillow_heif.register_heif_opener(decode_threads=1)
for path in pathlib.Path(sys.argv[1]).iterdir():
    with Image.open(path) as image:
        image.draft("RGB", (256, 256))
        image.convert("RGB")
"""
HASH_LOOP = """
import sys, pathlib, imagehash
from PIL import Image
for path in pathlib.Path(sys.argv[1]).iterdir():
    with Image.open(path) as image:
        imagehash.average_hash(image), imagehash.dhash(image)
"""
CZKAWKA = """
import sys, czkawka
finder = czkawka.ImageSimilarity()
finder.set_directories([sys.argv[1]])
finder.find_similar()
"""
DIFPY = """
import sys, difPy
if __name__ == "__main__":
    difPy.search(difPy.build(sys.argv[1], show_progress=False), show_progress=False)
"""


class Cost(NamedTuple):
    cpu_s: float
    wall_s: float


Measure: TypeAlias = "Callable[[Path, Path, bool], Cost]"
"""The cost of the pictures in the second folder, the first being one of them; True: not in the cache."""


class Tool(NamedTuple):
    name: str
    measure: Measure
    lacks: str = ""
    """why it can't run; empty if it can"""
    reads_heic: bool = False


class Row(NamedTuple):
    name: str
    warm: Cost | None
    cold: Cost | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--no-cold", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--model", default="", help="directory of the original's model")
    parser.add_argument("--tools", default="", help="parts of their names, by commas; default: all")
    options = parser.parse_args()
    pillow_heif.register_heif_opener()
    wanted = options.tools.split(",")
    tools = [tool for tool in all_tools(options.python, options.model) if any(part in tool.name for part in wanted)]
    for tool in tools:
        if tool.lacks:
            print(f"passed over: {tool.name}: {tool.lacks}")
    print("| pictures | tool | CPU ms | times the decoder | of the original's loop | wall ms, cached | not cached |")
    print("|---|---|---|---|---|---|---|")
    for kind in options.kinds.split(","):
        count = options.pictures * (SMALL_MORE if SIZES[kind.partition(".")[0]] is None else 1)
        with tempfile.TemporaryDirectory(prefix="sz-") as folder:
            one, many = make(Path(folder), kind, count)
            rows = [_row(tool, kind, one, many, not options.no_cold) for tool in tools if not tool.lacks]
        _print(rows, kind, count)


def _row(tool: Tool, kind: str, one: Path, many: Path, cold: bool) -> Row:
    if kind.endswith(".heic") and not tool.reads_heic:
        return Row(tool.name, None, None)
    return Row(tool.name, tool.measure(one, many, False), tool.measure(one, many, True) if cold else None)


def _print(rows: list[Row], kind: str, count: int) -> None:
    """A line for each tool; ratios to the decoder and to the original's loop, where they were run."""
    cpu = {row.name: row.warm.cpu_s for row in rows if row.warm}
    for row in rows:
        cells = ["can't read these", *[""] * 4]
        if row.warm:
            share = f"{row.warm.cpu_s / cpu[DECODER]:.1f}" if DECODER in cpu else ""
            faster = f"{cpu[ORIGINAL] / row.warm.cpu_s:.1f}x faster" if ORIGINAL in cpu else ""
            walls = [f"{1e3 * each.wall_s / count:.1f}" if each else "" for each in (row.warm, row.cold)]
            cells = [f"{1e3 * row.warm.cpu_s / count:.1f}", share, faster, *walls]
        print(f"| {kind} | {row.name} | {' | '.join(cells)} |", flush=True)


BOUND = "shazimd's libraries alone: decoder, hashes, model, key points"
DECODER = "decoder alone: Pillow, at 1/8 where the format has it"
ORIGINAL = "the original's loop, with its model"


def all_tools(python: str, model: str) -> list[Tool]:
    def module(name: str, imported: str, *words: str) -> Tool:
        return Tool(name, _command(python, *words), _fault(python, imported))

    imgdupes = Path(python).with_name("imgdupes")
    return [
        Tool(DECODER, _command(sys.executable, "-c", DECODERS), reads_heic=True),
        Tool(BOUND, _command(sys.executable, "-m", "benchmarks.libraries")),
        Tool("shazimd, default", _daemon(""), reads_heic=True),
        Tool("shazimd, verify = false", _daemon("[match]\nverify = false\n"), reads_heic=True),
        Tool(ORIGINAL, _original(model), "" if model else "no --model is given"),
        Tool("hashes of the original alone", _command(sys.executable, "-c", HASH_LOOP)),
        module("image-dedup-ai, one hash", "image_dedup_ai", "-m", "image_dedup_ai"),
        module("czkawka", "czkawka", "-c", CZKAWKA),
        module("difPy", "difPy", "-c", DIFPY),
        Tool("imgdupes", _imgdupes(imgdupes), "" if imgdupes.exists() else "it is not installed"),
        Tool(
            "findimagedupes",
            _command("findimagedupes"),
            "" if shutil.which("findimagedupes") else "it is no program here; Debian has it",
        ),
    ]


def make(folder: Path, kind: str, count: int) -> tuple[Path, Path]:
    """A folder of one picture, and another of ``count`` more with it."""
    photos = sorted(shared_folder().glob("data/photos/*/*.jpg"))
    chosen = photos[:: len(photos) // (count + 1)][: count + 1]
    one, many = folder / "one", folder / "many"
    one.mkdir()
    many.mkdir()
    size, _, suffix = kind.partition(".")
    for number, photo in enumerate(chosen):
        path = many / f"{number}.{suffix}"
        if SIZES[size] is None and suffix == "jpg":
            shutil.copy(photo, path)
        else:
            written(photo, path, SIZES[size], number)
        if number == 0:
            shutil.copy(path, one)
    os.sync()  # a page that is not on the disk can't be dropped
    return one, many


def written(photo: Path, path: Path, size: tuple[int, int] | None, seed: int) -> None:
    """Write a photo in the format of ``path``, made as large as ``size``."""
    with Image.open(photo) as image:
        picture = image.convert("RGB")
    if size:
        pixels = np.asarray(ImageOps.fit(picture, size, Image.Resampling.LANCZOS), np.float32)
        noise = np.random.default_rng(seed).normal(0, NOISE, pixels.shape)
        picture = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    picture.save(path, **SETTINGS[path.suffix[1:]])


def _command(*words: str) -> Measure:
    """A command over a folder, whose start is taken off."""

    def measure(one: Path, many: Path, is_cold: bool) -> Cost:
        few, all_ = (_timed([*words, str(folder)], folder, is_cold) for folder in (one, many))
        return Cost(all_.cpu_s - few.cpu_s, all_.wall_s - few.wall_s)

    return measure


def _imgdupes(program: Path) -> Measure:
    def measure(one: Path, many: Path, is_cold: bool) -> Cost:
        words = ["phash", "4", "--dry-run", "--no-cache"]
        few, all_ = (_timed([str(program), str(folder), *words], folder, is_cold) for folder in (one, many))
        return Cost(all_.cpu_s - few.cpu_s, all_.wall_s - few.wall_s)

    return measure


def _timed(command: list[str], folder: Path, is_cold: bool) -> Cost:
    if is_cold:
        _drop(folder)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: found, or nothing found
        raise SystemExit(f"{' '.join(command[:3])}: exit status {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)


def _original(model: str) -> Measure:
    """Its loop leaves out its start by itself."""

    def measure(_one: Path, many: Path, is_cold: bool) -> Cost:
        paths = sorted(many.iterdir())[:-1]  # as many as the others are asked for
        if is_cold:
            _drop(many)
        with tempfile.NamedTemporaryFile("w") as listed:
            listed.write("\n".join(map(str, paths)))
            listed.flush()
            command = [sys.executable, "-m", "benchmarks.seed_loop", model, listed.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        rate, cpu_s = map(float, done.stdout.split())
        return Cost(cpu_s, len(paths) / rate)

    return measure


def _daemon(settings: str) -> Measure:
    """Of a running daemon, with the bundled model, until it knows a folder that is moved into its root."""

    def measure(one: Path, many: Path, is_cold: bool) -> Cost:
        with tempfile.TemporaryDirectory(prefix="sz-", dir=many.parent) as made:
            folder = Path(made)
            root = folder / "root"
            shutil.copytree(one, root)
            (folder / "config.toml").write_text(
                f'{settings}[[watch]]\npath = "{root}"\nsettle_ms = 50\nsilent_for = "1h"\n'
            )
            options = ["--config", folder / "config.toml", "--store", folder / "store", "--socket", folder / "s"]
            client = Client(str(folder / "s"))
            words = [
                sys.executable,
                "-m",
                "shazimd.daemon.main",
                *map(str, options),
                "--log-format",
                "json",
                "--log-level",
                "debug",
            ]
            with (folder / "log").open("wb") as log, _ended(psutil.Popen(words, stderr=log)) as process:
                wait_until(lambda: is_settled(client) and _is_at_rest(process))
                if is_cold:
                    _drop(many)
                before, started, indexed = _cpu_s(process), time.perf_counter(), _indexed(folder)
                expected = indexed + len(list(many.iterdir()))
                many.rename(root / "many")
                try:
                    wait_until(lambda: _indexed(folder) == expected, timeout_s=10 * PATIENCE_S)
                    return Cost(_cpu_s(process) - before, time.perf_counter() - started)
                finally:
                    (root / "many").rename(many)

    return measure


def _indexed(folder: Path) -> int:
    """Files that are stored so far, by the log: to ask the daemon again and again would be a part of its work."""
    return (folder / "log").read_bytes().count(b'"image_indexed"')


def _is_at_rest(process: psutil.Process) -> bool:
    before = _cpu_s(process)
    time.sleep(QUIET_S)
    return _cpu_s(process) - before < QUIET_CPU_S


def _cpu_s(process: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


@contextmanager
def _ended(process: psutil.Popen) -> Iterator[psutil.Popen]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _fault(python: str, module: str) -> str:
    """Why a Python lacks a module: the last line of its error."""
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _drop(folder: Path) -> None:
    """Have the kernel forget the files' pages."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()

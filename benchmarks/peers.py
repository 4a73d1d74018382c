"""What does a photograph cost, beside its decoder and beside other tools?

    python -m benchmarks.peers [--pictures 8] [--kinds small,12mp,24mp,heic,png] [--python PYTHON]

Each tool runs over a folder of one picture and over one of ``--pictures`` more; told is the difference for a
picture: milliseconds of processor time (of all its processes) and of wall time, with the files in the cache, and wall
time with the files dropped from it. So a tool's start does not count. PYTHON has the extra ``peers``; a tool that it
lacks is passed over with the reason.

Pictures of 400 pixels are shared photos as they are. Large ones are made of shared photos: enlarged with Lanczos to
cover 4,000 x 3,000 or 6,000 x 4,000 pixels, with Gaussian noise of 3 levels for each pixel and channel, which a sensor
has and an enlargement lacks, and written as JPEG (quality 92, 4:2:0; some 5 MB), as HEIC (quality 80) or as PNG.
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
from typing import NamedTuple

import numpy as np
import pillow_heif
import psutil
from PIL import Image, ImageOps

from benchmarks.quality.photos import shared_folder
from benchmarks.running import PATIENCE_S, is_settled, wait_until
from shazimd.client import Client

LARGE = {"12mp": (4000, 3000, ".jpg"), "24mp": (6000, 4000, ".jpg"), "heic": (4000, 3000, ".heic")}
LARGE["png"] = (4000, 3000, ".png")
NOISE = 3.0
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


class Tool(NamedTuple):
    name: str
    run: Callable[[Path], Cost]
    lacks: Callable[[], str] = lambda: ""
    """why it can't run; empty if it can"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--kinds", default="small,12mp,24mp,heic,png")
    parser.add_argument("--python", default=sys.executable, help="has the extra peers")
    parser.add_argument("--tools", default="", help="parts of their names, by commas; default: all")
    options = parser.parse_args()
    wanted = options.tools.split(",")
    tools = [tool for tool in all_tools(options.python) if any(part in tool.name for part in wanted)]
    missing = {tool.name: reason for tool in tools if (reason := tool.lacks())}
    for name, reason in missing.items():
        print(f"passed over: {name}: {reason}")
    print("| pictures | tool | CPU ms | wall ms, cached | wall ms, not cached |\n|---|---|---|---|---|")
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory(prefix="sz-") as folder:
            one, many = make(Path(folder), kind, options.pictures)
            for tool in tools:
                if tool.name not in missing:
                    cpu, warm, cold = (1e3 * each / options.pictures for each in cost(tool, one, many))
                    print(f"| {kind} | {tool.name} | {cpu:.1f} | {warm:.1f} | {cold:.1f} |", flush=True)


def all_tools(python: str) -> list[Tool]:
    def module(name: str, *words: str) -> Tool:
        return Tool(name, lambda folder: _timed([python, *words, str(folder)]), lambda: _fault(python, words))

    return [
        Tool("decoder alone (Pillow, 1/8 scale where the format has it)", _own(DECODERS)),
        Tool("shazimd, default", lambda folder: _daemon(folder, "")),
        Tool("shazimd, verify = false", lambda folder: _daemon(folder, "[match]\nverify = false\n")),
        Tool("hash loop of the original, without its model", _own(HASH_LOOP)),
        module("image-dedup-ai", "-m", "image_dedup_ai"),
        module("czkawka", "-c", CZKAWKA),
        module("difPy", "-c", DIFPY),
        module("imgdupes", "-m", "imgdupes.imgdupes"),
        Tool(
            "findimagedupes",
            lambda folder: _timed(["findimagedupes", str(folder)]),
            lambda: "" if shutil.which("findimagedupes") else "it is no program here; Debian has it",
        ),
    ]


def cost(tool: Tool, one: Path, many: Path) -> tuple[float, float, float]:
    """Seconds that ``many`` takes beyond ``one``: of processors, of wall time with the files cached, and without."""
    tool.run(many)  # the program itself, and the files
    few, all_ = tool.run(one), tool.run(many)
    _drop(one, many)
    few_cold = tool.run(one)
    _drop(one, many)
    all_cold = tool.run(many)
    return all_.cpu_s - few.cpu_s, all_.wall_s - few.wall_s, all_cold.wall_s - few_cold.wall_s


def make(folder: Path, kind: str, count: int) -> tuple[Path, Path]:
    """A folder of one picture, and another of ``count`` more with it."""
    photos = sorted(shared_folder().glob("data/photos/*/*.jpg"))
    chosen = photos[:: len(photos) // (count + 1)][: count + 1]
    one, many = folder / "one", folder / "many"
    one.mkdir()
    many.mkdir()
    for number, photo in enumerate(chosen):
        path = many / f"{number}.jpg"
        if kind in LARGE:
            path = enlarged(photo, path, *LARGE[kind])
        else:
            shutil.copy(photo, path)
        if number == 0:
            shutil.copy(path, one)
    return one, many


def enlarged(photo: Path, path: Path, width: int, height: int, suffix: str) -> Path:
    rng = np.random.default_rng(int(path.stem))
    with Image.open(photo) as image:
        pixels = np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS), np.float32)
    noisy = Image.fromarray(np.clip(pixels + rng.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8))
    path = path.with_suffix(suffix)
    if suffix == ".heic":
        pillow_heif.from_pillow(noisy).save(path, quality=80)
    elif suffix == ".png":
        noisy.save(path, compress_level=1)
    else:
        noisy.save(path, quality=92, subsampling="4:2:0")
    return path


def _own(program: str) -> Callable[[Path], Cost]:
    return lambda folder: _timed([sys.executable, "-c", program, str(folder)])


def _timed(command: list[str]) -> Cost:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: found, or nothing found
        raise SystemExit(f"{' '.join(command[:3])}: exit status {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)


def _daemon(root: Path, settings: str) -> Cost:
    """From the start of the daemon to the end of its first scan, with the bundled model."""
    with tempfile.TemporaryDirectory(prefix="sz-") as made:
        folder = Path(made)
        (folder / "config.toml").write_text(settings)
        options = ["--config", folder / "config.toml", "--store", folder / "store", "--socket", folder / "s"]
        client = Client(str(folder / "s"))
        words = [sys.executable, "-m", "shazimd.daemon.main", str(root), *map(str, options)]
        started = time.perf_counter()
        with (folder / "log").open("wb") as log, _ended(psutil.Popen(words, stderr=log)) as process:
            wait_until(lambda: is_settled(client))
            wall = time.perf_counter() - started
            every = [process, *process.children(recursive=True)]
            return Cost(sum(sum(each.cpu_times()[:2]) for each in every), wall)


@contextmanager
def _ended(process: psutil.Popen) -> Iterator[psutil.Popen]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _fault(python: str, words: tuple[str, ...]) -> str:
    """Why a Python lacks a module: the last line of its error."""
    names = {CZKAWKA: "czkawka", DIFPY: "difPy"}
    name = names.get(words[1], words[1])
    done = subprocess.run([python, "-c", f"import {name}"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _drop(*folders: Path) -> None:
    """Have the kernel forget the files' pages."""
    for path in (path for folder in folders for path in folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()

r"""What does one picture cost in a worker and before it, step by step, and would another hash be faster?

    OPENBLAS_NUM_THREADS=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
        python -m benchmarks.photo_steps [--kind 12mp.jpg|small.jpg] [--pictures 6] [--python PYTHON]

Prints the processor time of each step, the least of some repeats, as a mean over pictures as benchmarks/peers.py makes
them; steps of a step are set in. A worker's whole jobs take more than their steps, which have the processor's caches
to themselves here. The last rows are the bound: the steps of libraries.py. The variables are a worker's: more threads
of OpenBLAS would spin, and count. PYTHON has ``blake3``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image

from benchmarks import libraries, peers
from benchmarks.quality.product import installed
from shazimd.config import WorkersConfig
from shazimd.imaging.bounds import jpeg_structure
from shazimd.imaging.decode import decode
from shazimd.imaging.extract import SIDE_MIN, Extractor, is_low_in_information
from shazimd.imaging.features import Shown, extract_both, extract_features, half_descriptors
from shazimd.imaging.hashes import oriented_hashes
from shazimd.imaging.kept import STORED, small_picture
from shazimd.imaging.pixels import name_of_coded_jpeg
from shazimd.models.model import EmbeddingModel
from shazimd.posix import memory
from shazimd.posix.sealed import SealedBytes, read_all
from shazimd.types import digest_of
from shazimd.words.packing import ASKED_MAX, STORED_MAX

REPEATS = 9
MAX_PIXELS = WorkersConfig().max_pixels
BLAKE3 = """
import sys, time, blake3
data, times = open(sys.argv[1], "rb").read(), []
for _ in range(9):
    started = time.process_time()
    blake3.blake3(data).digest()
    times.append(time.process_time() - started)
print(min(times))
"""
READ, DIGEST, SCANNED = "daemon: read into sealed memory", "daemon: digest", "**all of a scanned file**"
Step = tuple[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["small.jpg", "12mp.jpg", "24mp.jpg"], default="12mp.jpg")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    memory.keep_freed_memory()  # as a worker does
    cv2.setNumThreads(1)
    model = EmbeddingModel(installed("bundled"))
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        _, many = peers.make(Path(folder), options.kind, options.pictures)
        paths = sorted(many.iterdir())[: options.pictures]
        tables = [{name: _least_s(step) for name, step in _steps(path, model)} for path in paths]
        size = statistics.mean(path.stat().st_size for path in paths)
        print(f"| step, {options.kind}, {size / 1e6:.2f} MB | ms |\n|---|---|")
        means = {name: 1e3 * statistics.mean(table[name] for table in tables) for name in tables[0]}
        for name, mean in means.items():
            print(f"| {name} | {mean:.2f} |")
        _print_bound(means, [libraries.cpu_s(path.read_bytes(), model, _least_s) for path in paths])
        done = subprocess.run([options.python, "-c", BLAKE3, paths[0]], capture_output=True, text=True, check=False)
        print(f"| BLAKE3 of a file | {1e3 * float(done.stdout):.2f} |" if done.stdout else "no blake3 in PYTHON")


def _print_bound(means: dict[str, float], tables: list[dict[str, float]]) -> None:
    """Of a scanned file: what libraries take, and both as multiples of the decoder."""
    bound = {name: 1e3 * statistics.mean(table[name] for table in tables) for name in tables[0]}
    for name, mean in bound.items():
        print(f"| library: {name} | {mean:.2f} |")
    decoder, least, all_ = bound[libraries.DECODER], sum(bound.values()), means[READ] + means[DIGEST] + means[SCANNED]
    print(f"| **the bound: these together**, {least / decoder:.1f} times the decoder | {least:.2f} |")
    print(f"| **read, digest and a worker's job**, {all_ / decoder:.1f} times the decoder | {all_:.2f} |")


def _steps(path: Path, model: EmbeddingModel) -> Iterator[Step]:
    data = path.read_bytes()
    sealed, structure = SealedBytes(data), jpeg_structure(data)
    assert structure is not None
    yield READ, lambda: _read(path)
    yield DIGEST, lambda: digest_of(data)
    yield "read out of sealed memory", lambda: read_all(sealed.fileno())
    yield "decode", lambda: decode(data, side_min=SIDE_MIN, max_pixels=MAX_PIXELS)
    yield "- of that the decoder alone", lambda: _decoded(data)
    yield "- segments, and their number checked", lambda: jpeg_structure(data)
    yield "- hash of the coded data, if it is the name", lambda: name_of_coded_jpeg(data, structure, 1)
    image = decode(data, side_min=SIDE_MIN, max_pixels=MAX_PIXELS).image
    luma = image.convert("L")
    yield "grey, hashes of 8 orientations", lambda: oriented_hashes(image.convert("L"))
    yield "- by imagehash, in one orientation", lambda: (imagehash.average_hash(luma), imagehash.dhash(luma))
    yield "whether there is information", lambda: is_low_in_information(luma)
    size = model.info.input_width, model.info.input_height
    view = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))[np.newaxis]
    yield "the model's view", lambda: image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    yield "vector", lambda: model.embed(view)
    yield from _steps_of_features(np.asarray(image))
    yield "features of a scanned file", lambda: extract_features(Shown(np.asarray(image)))
    yield "features of a new file or a question", lambda: extract_both(Shown(np.asarray(image)))
    extractor = Extractor(model, MAX_PIXELS)
    yield SCANNED, lambda: extractor.fingerprint(data)
    yield "**all of a new file or a question**", lambda: extractor.query(data)
    yield "SHA-256 of the file", lambda: hashlib.sha256(data).digest()


def _steps_of_features(rgb: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Iterator[Step]:
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    yield f"- frame, {STORED_MAX} key points", lambda: half_descriptors(luma, STORED_MAX)
    yield f"- frame, {ASKED_MAX} key points", lambda: half_descriptors(luma, ASKED_MAX)
    yield "- the small picture", lambda: small_picture(rgb, STORED, False)


def _decoded(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (SIDE_MIN, SIDE_MIN))
        image.convert("RGB")


def _read(path: Path) -> SealedBytes:
    with io.FileIO(path) as file:
        return SealedBytes.read(file, 1 << 30, lambda _: None)


def _least_s(step: Callable[[], object]) -> float:
    """The least: whatever else runs on the machine only adds to it."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    main()

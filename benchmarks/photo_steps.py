"""What does a photograph of 12 megapixels cost besides its decoder, and would another hash be faster?

    python -m benchmarks.photo_steps [--python PYTHON]

Prints the median processor time of each step for a JPEG as benchmarks/peers.py makes it. PYTHON has ``blake3``.
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
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks import peers
from shazimd.imaging.bounds import jpeg_structure
from shazimd.imaging.decode import decode
from shazimd.imaging.extract import SIDE_MIN, is_low_in_information
from shazimd.imaging.hashes import oriented_hashes
from shazimd.imaging.pixels import name_of_coded_jpeg
from shazimd.posix.sealed import SealedBytes, read_all
from shazimd.types import digest_of

REPEATS = 21
VIEW = 160, 160
"""Pixels, the input of the bundled model."""
BLAKE3 = """
import sys, time, statistics, blake3
data, times = open(sys.argv[1], "rb").read(), []
for _ in range(21):
    started = time.process_time()
    blake3.blake3(data).digest()
    times.append(time.process_time() - started)
print(statistics.median(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        _, many = peers.make(Path(folder), "12mp.jpg", 0)
        path = next(many.iterdir())
        print(f"| step, {path.stat().st_size / 1e6:.1f} MB | ms |\n|---|---|")
        rest = 0.0
        for name, step, is_rest in _steps(path):
            ms = 1e3 * _median(step)
            rest += ms if is_rest else 0.0
            print(f"| {name} | {ms:.2f} |")
        print(f"| all but the decoder | {rest:.2f} |")
        done = subprocess.run([options.python, "-c", BLAKE3, path], capture_output=True, text=True, check=False)
        print(f"| BLAKE3 of the file | {1e3 * float(done.stdout):.2f} |" if done.stdout else "no blake3 in PYTHON")


def _steps(path: Path) -> list[tuple[str, Callable[[], object], bool]]:
    data = path.read_bytes()
    sealed, structure = SealedBytes(data), jpeg_structure(data)
    assert structure is not None
    image = decode(data, side_min=SIDE_MIN, max_pixels=200_000_000).image
    luma = image.convert("L")
    return [
        ("decode, with the checks before it and the coded name", lambda: _decoded(data), False),
        ("read into sealed memory", lambda: _read(path), True),
        ("read out of it", lambda: read_all(sealed.fileno()), True),
        ("digest", lambda: digest_of(data), True),
        ("segments, and their number checked", lambda: jpeg_structure(data), True),
        ("hash of the coded data", lambda: name_of_coded_jpeg(data, structure, 1), True),
        ("grey, hashes of 8 orientations", lambda: oriented_hashes(image.convert("L")), True),
        ("whether there is information", lambda: is_low_in_information(luma), True),
        ("the model's view", lambda: image.resize(VIEW, Image.Resampling.BILINEAR, reducing_gap=2.0), True),
        ("SHA-256 of the file", lambda: hashlib.sha256(data).digest(), False),
    ]


def _decoded(data: bytes) -> object:
    return decode(data, side_min=SIDE_MIN, max_pixels=200_000_000)


def _read(path: Path) -> SealedBytes:
    with io.FileIO(path) as file:
        return SealedBytes.read(file, 1 << 30, lambda _: None)


def _median(step: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()

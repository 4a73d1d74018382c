"""How many bits does decoding a JPEG at a reduced scale change, and what does it save?

    python benchmarks/draft_scale.py FOLDER [--enlarge 4]

FOLDER holds JPEGs. With --enlarge each is first made that many times as wide and high (small photos are decoded
whole otherwise). Compares the two hashes at each side_min with those of the whole picture, and the median CPU
time of a decode.

Last answer (November 2026, Xeon 2.8 GHz, Pillow 13.0; phone photos made 8 times larger, --enlarge 8 --every 20):

    70 JPEGs
    side_min   ms  ah bits changed: mean, max   dh bits changed: mean, max
         224  21.3                    0.06, 2                      0.06, 1
         256  21.5                    0.06, 2                      0.06, 1
         320  14.1                    0.06, 2                      0.06, 1
       whole 101.3                    0.00, 0                      0.00, 0

These sides mean the same scale (1/8) for photos of this size: the differences between their times are noise.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from shazimd.imaging.decode import decode
from shazimd.imaging.hashes import oriented_hashes

WHOLE = 1 << 30
SIDES = (224, 256, 320, WHOLE)


def main() -> None:
    options = _options()
    files = sorted(options.folder.rglob("*.jpg"))[:: options.every]
    data = [_enlarged(file.read_bytes(), options.enlarge) for file in files]
    whole = [_hashes(each, WHOLE)[0] for each in data]
    print(f"{len(data)} JPEGs\nside_min   ms  ah bits changed: mean, max   dh bits changed: mean, max")
    for side in SIDES:
        found = [_hashes(each, side) for each in data]
        elapsed = statistics.median(seconds for _, seconds in found) * 1000
        ah, dh = ([(a[i] ^ b[i]).bit_count() for (a, _), b in zip(found, whole, strict=True)] for i in (0, 1))
        name = "whole" if side == WHOLE else str(side)
        print(f"{name:>8} {elapsed:5.1f} {_summary(ah):>26} {_summary(dh):>28}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--enlarge", type=int, default=1)
    parser.add_argument("--every", type=int, default=10, help="take every n-th file")
    return parser.parse_args()


def _enlarged(data: bytes, factor: int) -> bytes:
    if factor == 1:
        return data
    with Image.open(io.BytesIO(data)) as image:
        large = image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def _hashes(data: bytes, side_min: int) -> tuple[tuple[int, ...], float]:
    began = time.thread_time()
    image = decode(data, side_min=side_min, max_pixels=200_000_000).image
    elapsed = time.thread_time() - began
    return oriented_hashes(image.convert("L"))[0], elapsed


def _summary(bits: Sequence[int]) -> str:
    return f"{statistics.mean(bits):.2f}, {max(bits)}"


if __name__ == "__main__":
    main()

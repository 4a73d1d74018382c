"""A daemon for a benchmark: a process of its own on a scratch folder, mostly without a model and with one worker."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from shazimd.client import Client
from shazimd.errors import ShazimdError

PATIENCE_S = 60.0


@contextmanager
def running(
    folder: Path, environ: Mapping[str, str] | None = None, processes: int = 1, model: str = "none"
) -> Iterator[tuple[psutil.Process, Client]]:
    """The daemon and a client of it; it watches ``folder/root`` and has seen all that lies there."""
    with started(folder, f"[workers]\nprocesses = {processes}\n", environ, model) as (process, client):
        wait_until(lambda: is_settled(client))
        yield process, client


@contextmanager
def started(
    folder: Path, config: str, environ: Mapping[str, str] | None = None, model: str = "none"
) -> Iterator[tuple[psutil.Process, Client]]:
    """The daemon, which has just been started, and a client of it."""
    (folder / "root").mkdir(exist_ok=True)
    words = [sys.executable, "-m", "shazimd.daemon.main", str(folder / "root"), "--model", model]
    (folder / "config.toml").write_text(config)
    options = ["--config", folder / "config.toml", "--store", folder / "store", "--socket", folder / "s"]
    client = Client(str(folder / "s"))
    with (folder / "log").open("wb") as log:
        process = psutil.Popen([*words, *map(str, options), "--log-format", "json"], stderr=log, env=environ)
    try:
        yield process, client
    finally:
        if process.poll() is None:  # a benchmark may have stopped it
            process.terminate()
        process.wait(PATIENCE_S)


def is_settled(client: Client) -> bool:
    """Whether the daemon answers, and knows all that it was told of."""
    try:
        status = client.status()
    except ShazimdError:
        return False
    return status["state"] == "ready" and not status["pending"]


def cpu_s(process: psutil.Process) -> float:
    """Seconds of processor time of a process, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {timeout_s:g} s in vain")
        time.sleep(0.05)


def draw(path: Path, seed: int) -> None:
    """A small picture, unlike those of other seeds."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(path)

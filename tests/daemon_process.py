"""A real daemon as a process, with its log as a list of events."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from forked_daemons import ForkedDaemon
from patience import PATIENCE_S, wait_for
from PIL import Image, ImageDraw

from shazimd.cli import wait
from shazimd.client import Client

SCRIPTS = Path(sys.executable).parent

Event = dict[str, Any]


class DaemonProcess:
    """`shazimd` on a store, a socket and roots of its own; may be stopped or killed, and started again."""

    other_lines: frozenset[bytes] = frozenset()
    """lines of the log that are no events"""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.store = folder / "store"
        self.log = folder / "log"
        self._sockets = tempfile.mkdtemp(prefix="sz-")  # a socket's path is at most 107 bytes
        self.socket = os.path.join(self._sockets, "s")
        self.arguments = [*arguments] or [str(self.root)]
        if "--config" not in self.arguments:
            settings = folder / "settings.toml"
            settings.write_text("[workers]\nprocesses = 1\n")  # each further one costs half a second of a processor
            self.arguments += ["--config", str(settings)]
        self._logged: list[Event] = []
        self._log_read = 0
        self.program: list[str] | None = None
        """another than shazimd's own, to be run in its place"""
        self.process: subprocess.Popen[bytes] | ForkedDaemon | None = None

    def start(self, *more: str) -> None:
        """Start and wait until it answers."""
        self.spawn(*more)
        self.wait_for("started")

    def spawn(self, *more: str) -> subprocess.Popen[bytes] | ForkedDaemon:
        options = ["--store", str(self.store), "--socket", self.socket, "--log-format", "json", "--log-level", "debug"]
        self.log.unlink(missing_ok=True)  # a worker of a killed daemon may still write to the one before
        self._logged, self._log_read = [], 0
        with self.log.open("wb") as log:
            words = [*options, "--model", "none", *more, *self.arguments]
            self.process = (
                subprocess.Popen([*self.program, *words], stderr=log) if self.program else ForkedDaemon(words, log)
            )
        return self.process

    def events(self, name: str | None = None) -> list[Event]:
        """What was logged since the last start. Lines are parsed once: a wait asks fifty times a second."""
        with self.log.open("rb") as log:
            log.seek(self._log_read)
            *lines, rest = log.read().split(b"\n")
            self._logged += [json.loads(line) for line in lines if line not in self.other_lines]
            self._log_read = log.tell() - len(rest)
        return [event for event in self._logged if name in (None, event["event"])]

    def wait_for(self, name: str, **facts: Any) -> Event:
        """The first such event."""

        def found() -> Event | None:
            matching = (e for e in self.events(name) if all(e.get(key) == value for key, value in facts.items()))
            return next(matching, None)

        event: Event = self.wait_until(found)
        return event

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition; fails when the daemon has ended, or after long."""

        def holds() -> Any:
            status = self.process.poll() if self.process else None  # before the look: its last words count
            result = condition()
            assert result or status is None, f"it ended with {status}: {self.log.read_text()[-3000:]}"
            return result

        return wait_for(holds, lambda: self.log.read_text()[-3000:])

    def ctl(
        self, *arguments: str, stdin: bytes | None = None, patience_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `shazimctl`."""
        command = [str(SCRIPTS / "shazimctl"), "--socket", self.socket, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=patience_s, check=False)
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def settled(self, *, compared: bool = False) -> None:
        """Wait until all that is on the disk is known, and ``compared``: as `shazimctl wait`, without its process."""
        self.wait_for("root_watched")
        assert 0 == wait.run(Namespace(socket=self.socket, timeout=PATIENCE_S, compared=compared))

    def status(self) -> Event:
        """As `shazimctl status --json`, without a process for each question."""
        return cast(Event, Client(self.socket, timeout_s=PATIENCE_S).status())

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)


@contextmanager
def daemon_process(folder: Path, *arguments: str) -> Iterator[DaemonProcess]:
    daemon = DaemonProcess(folder, *arguments)
    try:
        yield daemon
    finally:
        daemon.close()


def drawing(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """A picture with things in it, unlike those of other seeds."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, w, h = (int(v) for v in rng.integers(0, max(size) * 2 // 3, 4))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + w // 2 + 5, y + h // 2 + 5), fill=tuple(rng.integers(0, 255, 3)))
    return image

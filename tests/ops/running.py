"""A real daemon, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from unittest.mock import patch

from forked_daemons import ForkedDaemon
from patience import PATIENCE_S, wait_for
from PIL import Image

from shazimd.client import Client
from shazimd.errors import DaemonUnreachable


def draw(path: Path, colour: int) -> None:
    """A small picture, unlike those of other colours."""
    image = Image.effect_mandelbrot((160, 120), (-2 + colour / 10, -1.5, 1, 1.5), 40).convert("RGB")
    image.save(path)


class Daemon:
    """A real shazimd with a config, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.socket = str(folder / "s")
        self.log = folder / "log"
        self.photos = folder / "p"
        self.photos.mkdir()
        self.client = Client(self.socket, timeout_s=PATIENCE_S)
        self.configure()

    def configure(self, *tables: str, roots: tuple[Path, ...] = ()) -> None:
        """Write the config: these roots (else ``photos``), and these tables beside them."""
        watch = [f'[[watch]]\npath = "{root}"' for root in roots or (self.photos,)]
        fixed = f'[model]\nhandle = "none"\n[workers]\nprocesses = 1\n[store]\npath = "{self.folder / "store"}"'
        self.config.write_text("\n".join([fixed, *watch, *tables]))

    def start(self, **environ: str) -> None:
        words = ["--config", str(self.config), "--socket", self.socket, "--log-format", "json"]
        with self.log.open("ab") as log, patch.dict(os.environ, environ):
            self.process: ForkedDaemon | subprocess.Popen[bytes] = ForkedDaemon(words, log)
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(lambda: self.process.poll() is not None or self._is_ready())
        assert self.process.poll() is None, self.log.read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()

    def events(self) -> list[str]:
        """The log's lines."""
        return self.log.read_text().splitlines()

    def _is_ready(self) -> bool:
        try:
            status = self.client.status()
        except DaemonUnreachable:
            return False
        return status["state"] == "ready" and not status["pending"]

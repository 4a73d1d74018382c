"""A host of a cluster: a daemon and a link as processes, each of which may be killed and started again."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from daemon_process import SCRIPTS, DaemonProcess
from patience import PATIENCE_S, wait_for
from postgres_server import PostgresServer

from shazimd.cluster import admin
from shazimd.cluster.daemon import LinkClient

_numbers = count()


class LinkedHost:
    def __init__(self, folder: Path, name: str, url: str) -> None:
        folder.mkdir()
        self.name = name
        self.config = folder / "config.toml"
        self.configure(url)
        self.daemon = DaemonProcess(folder, "--config", str(self.config), str(folder / "root"))
        self.root = self.daemon.root
        self.client = LinkClient(self.daemon.socket)
        self._log = folder / "link.log"
        self.link: subprocess.Popen[bytes] | None = None

    def configure(self, url: str, **more: Any) -> None:
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"host": self.name, "url": url, **more}.items()]
        self.config.write_text("[workers]\nprocesses = 1\n[cluster]\n" + "\n".join(lines) + "\n")

    def start(self, *more: str) -> None:
        """Start both; what lands from now on is new, since the first scan is over."""
        self.daemon.start(*more)
        self.daemon.wait_until(lambda: self.daemon.status()["state"] == "ready")
        self.start_link()

    def start_link(self) -> None:
        command = [str(SCRIPTS / "shazimd-link"), "--config", str(self.config), "--socket", self.daemon.socket]
        with self._log.open("ab") as log:
            self.link = subprocess.Popen([*command, "--log-format", "json", "--log-level", "debug"], stderr=log)

    def kill_link(self) -> None:
        assert self.link is not None
        self.link.kill()
        self.link.wait(PATIENCE_S)

    def stop_link(self) -> int:
        assert self.link is not None
        self.link.terminate()
        return self.link.wait(PATIENCE_S)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the link logged, since the first start."""
        *whole, _ = self._log.read_text().split("\n")  # the last line may be half written
        lines = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def find(self, image: Path) -> set[str]:
        return {match["path"] for match in self.client.find(image.read_bytes())["matches"]}

    def foreign(self) -> dict[str, set[str]]:
        """The files of each other host that the daemon knows."""
        found: dict[str, set[str]] = {}
        for host in self.client.foreign()["hosts"]:
            after: bytes | None = None
            found[host["host"]] = set()
            while page := self.client.foreign_paths(host["host"], after):
                found[host["host"]] |= {each["path"] for each in page}
                after = page[-1]["path"].encode()
        return found

    def on_disk(self) -> dict[str, str]:
        """The pictures in the root, with the digests of their bytes."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path): hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest() for path in files}

    def alerts(self) -> list[tuple[str, str]]:
        return [(alert["path"], alert["match"]) for alert in self.client.alerts()]

    def told_across(self) -> list[tuple[str, str]]:
        """The alerts that name a file of another host."""
        return [(path, match) for path, match in self.alerts() if not match.startswith("/")]

    def logs(self) -> str:
        return f"{self.name}\n{self.daemon.log.read_text()[-3000:]}\n{self._log.read_text()[-3000:]}"

    def close(self) -> None:
        if self.link is not None and self.link.poll() is None:
            self.kill_link()
        self.daemon.close()


def new_database(server: PostgresServer) -> str:
    """The URL of a new database with the tables."""
    name = f"test{next(_numbers)}"
    server.createdb(name)
    url = server.url(name)
    admin.init(url)
    return url


def known(host: LinkedHost, other: LinkedHost) -> bool:
    """Whether a host knows exactly the other's files."""
    return host.foreign().get(other.name, set()) == set(other.on_disk())


def wait_until(condition: Callable[[], object], *hosts: LinkedHost, patience_s: float = PATIENCE_S) -> None:
    wait_for(condition, lambda: "\n".join(host.logs() for host in hosts), patience_s)

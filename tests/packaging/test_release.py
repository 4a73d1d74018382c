"""The files of a release: built once, looked into, installed and used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import shazimd

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = f"shazimd-{shazimd.__version__}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial release of a copy of this checkout: setuptools leaves its work where it builds."""
    folder = tmp_path_factory.mktemp("release")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((CHECKOUT / name).read_bytes())
    words = [sys.executable, "scripts/release.py", "--any-state", "--output", str(folder / "dist")]
    done = subprocess.run(words, cwd=folder / "source", capture_output=True, text=True)
    if "No matching distribution found" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("the build's own requirements can't be had: no network")
    assert done.returncode == 0, done.stderr
    return folder / "dist"


def test_the_wheel_has_every_file_of_the_package(release: Path) -> None:
    """What git has below shazimd/ and shazim/, and the man pages."""
    tracked = subprocess.run(["git", "ls-files", "shazimd", "shazim"], cwd=CHECKOUT, capture_output=True, text=True)
    names = set(zipfile.ZipFile(release / f"{NAME}-py3-none-any.whl").namelist())
    documents = {name for name in tracked.stdout.split() if name.endswith(".md")}
    assert set(tracked.stdout.split()) - documents - names == set()
    data = f"{NAME}.data/data/share/man"
    assert {f"{data}/man1/shazimctl.1", f"{data}/man5/shazimd.toml.5", f"{data}/man8/shazimd.8"} <= names


def test_the_sdist_builds_the_wheel(release: Path) -> None:
    """The wheel is made from it; it has the licence and the readme too."""
    with tarfile.open(release / f"{NAME}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "shazimd/systemd/shazimd.service"} <= names


def test_the_sums_are_those_of_the_files(release: Path) -> None:
    """As sha256sum --check reads them."""
    lines = [line.split() for line in (release / "SHA256SUMS").read_text().splitlines()]
    assert len(lines) == 4
    assert [hashlib.sha256((release / name).read_bytes()).hexdigest() for _, name in lines] == [s for s, _ in lines]


def test_the_bill_of_materials_names_every_dependency(release: Path) -> None:
    """Each requirement of the project, and what these need, with version and licence."""
    bill = json.loads((release / f"{NAME}.cdx.json").read_text())
    named = {component["name"].lower().replace("_", "-"): component for component in bill["components"]}
    text = (CHECKOUT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
    assert {re.split(r"[<>=]", each)[0] for each in re.findall(r'^ +"([^"]+)"', text, re.MULTILINE)} <= set(named)
    assert {"anyio", "markdown-it-py"} <= set(named)  # of starlette, of rich
    assert all(component["version"] and component["licenses"] for component in named.values())


def test_the_installed_wheel_works(release: Path, tmp_path: Path) -> None:
    """In an environment of its own, with the dependencies of this one: its commands, data and the bundled model."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    wheel = release / f"{NAME}-py3-none-any.whl"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "-q", "--no-deps", str(wheel)], env=environ, check=True)
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*words: str | Path) -> str:
        done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(tmp_path / "venv/bin/shazimctl", "--version") == f"shazimctl {shazimd.__version__}\n"
    assert "compgen" in run(tmp_path / "venv/bin/shazimctl", "completion", "bash")
    asked = "import shazim, os; e = shazim.ShazimEngine(models='m'); print(shazim.__file__); print(bool(e._model))"
    assert run(python, "-c", asked) == f"{site}/shazim/__init__.py\nTrue\n"
    assert "--store" in run(tmp_path / "venv/bin/shazimd", "--help")


def test_an_unclean_checkout_is_no_release(tmp_path: Path) -> None:
    """Each reason is named. The heading of the changelog has no date before the release."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "shazimd").mkdir()
    for name in ("scripts/release.py", "shazimd/__init__.py", "CHANGELOG.md"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    text = (CHECKOUT / "CHANGELOG.md").read_text()
    (tmp_path / "CHANGELOG.md").write_text(re.sub(r"^## (\S+).*$", r"## \1 (unreleased)", text, count=1, flags=re.M))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    done = subprocess.run([sys.executable, tmp_path / "scripts/release.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "git has changes that are not committed" in done.stderr
    assert f'expected the heading "## {shazimd.__version__} (YYYY-MM-DD)"' in done.stderr

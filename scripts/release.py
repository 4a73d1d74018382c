"""Make a release of this checkout: python scripts/release.py [--output DIR] [--any-state]

The files: a wheel, an sdist, the software bill of materials (CycloneDX 1.5, of the wheel's dependencies as they are
installed now), the release notes and SHA256SUMS. Refused unless git has no changes, the tag vVERSION is not taken, and
the newest heading of CHANGELOG.md is VERSION and a date. --any-state leaves out these checks, for a trial.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a release of this checkout.")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "dist", metavar="DIR", help="default: dist")
    parser.add_argument("--any-state", action="store_true", help="leave out the checks of git and the changelog")
    args = parser.parse_args(arguments)
    version = version_of(CHECKOUT)
    notes = notes_of(CHECKOUT, version)
    if not args.any_state and (faults := list(faults_of(version))):
        sys.exit("no release:\n" + "\n".join(f"  {fault}" for fault in faults))
    args.output.mkdir(parents=True, exist_ok=True)
    build(args.output)
    (args.output / f"shazimd-{version}.cdx.json").write_text(json.dumps(bill_of_materials(version), indent=1) + "\n")
    (args.output / f"shazimd-{version}.md").write_text(notes)
    files = sorted(path for path in args.output.glob(f"shazimd-{version}*") if path.is_file())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (args.output / "SHA256SUMS").write_text(sums)
    print(sums, end="")


def version_of(checkout: Path) -> str:
    """The version, from its one place."""
    found = re.search(r'^__version__ = "([^"]+)"$', (checkout / "shazimd/__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def notes_of(checkout: Path, version: str) -> str:
    """The section of the version in the changelog."""
    section = re.search(rf"^## {re.escape(version)}\b.*?(?=^## |\Z)", _changelog(checkout), re.MULTILINE | re.DOTALL)
    if section is None:
        sys.exit(f"no release:\n  CHANGELOG.md has no section {version}")
    return section[0]


def faults_of(version: str) -> Iterator[str]:
    """Why this checkout is no release."""
    if _git("status", "--porcelain"):
        yield "git has changes that are not committed"
    if _git("tag", "--list", f"v{version}"):
        yield f"the tag v{version} is taken; raise __version__ in shazimd/__init__.py"
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", _changelog(CHECKOUT), re.MULTILINE):
        yield f'CHANGELOG.md: expected the heading "## {version} (YYYY-MM-DD)"'


def build(output: Path) -> None:
    """Build the sdist, and the wheel from the sdist, in an environment of their own."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin/python")
        requires = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["build-system"]["requires"]
        _run(python, "-m", "pip", "install", "-q", "build", *requires)
        _run(python, "-m", "build", "--no-isolation", "--outdir", str(output), str(CHECKOUT))


def bill_of_materials(version: str) -> dict[str, object]:
    """The dependencies of the wheel with their versions and licences."""
    components = [
        {
            "type": "library",
            "name": each.metadata["Name"],
            "version": each.version,
            "purl": f"pkg:pypi/{_normal(each.metadata['Name'])}@{each.version}",
            "licenses": [{"license": {"name": _licence(each)}}],
        }
        for each in sorted(_dependencies(_project()["dependencies"]), key=lambda each: _normal(each.metadata["Name"]))
    ]
    application = {"type": "application", "name": "shazimd", "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": application},
        "components": components,
    }


def _dependencies(requirements: list[str]) -> list[metadata.Distribution]:
    """The installed distributions of these requirements, and those that they need, without extras."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        needed = REQUIREMENT.match(requirement)
        if needed is None or "extra ==" in requirement or _normal(needed[1]) in found:
            continue
        try:
            found[_normal(needed[1])] = metadata.distribution(needed[1])
        except metadata.PackageNotFoundError:  # for another system or version of Python
            continue
        waiting += metadata.requires(needed[1]) or []
    return list(found.values())


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project


def _licence(distribution: metadata.Distribution) -> str:
    about = distribution.metadata
    classifiers = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or [] if "License ::" in each]
    return about["License-Expression"] or ", ".join(classifiers) or (about["License"] or "unknown").splitlines()[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _changelog(checkout: Path) -> str:
    return (checkout / "CHANGELOG.md").read_text()


def _git(*words: str) -> str:
    words = ("git", "-C", str(CHECKOUT), *words)
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _run(*words: str) -> None:
    if subprocess.run(words, stdout=sys.stderr, check=False).returncode:
        sys.exit(f"{' '.join(words)} failed")


if __name__ == "__main__":
    main()

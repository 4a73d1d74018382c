"""Build a Debian package of this checkout: /usr/bin/python3 scripts/build_deb.py [--without-converter] [--output DIR]

The package holds what docs/operations.md has an administrator make by hand, the virtual environment /opt/shazimd with
all dependencies. Which directories to watch only the administrator knows, so the service itself is still set up by
`shazimctl service install DIR`: one way to install it, whichever way the program came. Removing the package uninstalls
the service and keeps config and store; purging removes them.

Run it with the Python of the Debian that the package is for (python3-venv is needed): the environment is bound to it.
"""

from __future__ import annotations

import argparse
import compileall
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from release import version_of

CHECKOUT = Path(__file__).resolve().parents[1]
PREFIX = "opt/shazimd"
KEPT_DATA = (
    "/etc/shazimd /etc/default/shazimd /var/lib/shazimd /var/lib/shazimd-model /var/lib/private/shazimd-hooks"
    " /var/lib/shazimd-hooks /var/cache/shazimd /var/cache/shazimd-model /run/shazimd"
)

CONTROL = """\
Package: shazimd
Version: {version}
Architecture: {architecture}
Maintainer: The shazimd developers <shazimd@localhost>
Section: graphics
Priority: optional
Depends: python3 (>= {python}), python3 (<< {next_python}), systemd, libc6, libstdc++6
Installed-Size: {size_kib}
Description: {summary}
 Set it up with: shazimctl service install DIR
"""
POSTINST = """\
#!/bin/sh
set -e
[ ! -e /etc/systemd/system/shazimd.service ] || /opt/shazimd/bin/shazimctl service install --yes >/dev/null
"""
PRERM = """\
#!/bin/sh
set -e
[ -e /etc/systemd/system/shazimd.service ] || exit 0
case "$1" in
    upgrade) systemctl stop shazimd.socket shazimd.service ;;
    remove) /opt/shazimd/bin/shazimctl service uninstall --yes >/dev/null ;;
esac
"""
POSTRM = f"""\
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf {KEPT_DATA}
fi
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a Debian package of this checkout.")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    parser.add_argument(
        "--without-converter",
        action="store_true",
        help="leave out TensorFlow, nine tenths of the size; models are then installed as .tflite files",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        install(tree, "" if args.without_converter else "[hub]")
        describe(tree)
        # xz, the default, would take minutes.
        run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", tree, args.output)


def install(tree: Path, extra: str) -> None:
    """Make the environment as it will lie in /opt/shazimd, where nothing is compiled or written any more."""
    prefix = tree / PREFIX
    pip = (prefix / "bin/python3", "-m", "pip")
    run(sys.executable, "-m", "venv", prefix)
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # setuptools would take along what an older build left in the checkout
        source = shutil.copytree(CHECKOUT, Path(folder) / "source", ignore=shutil.ignore_patterns(".*", "build"))
        run(*pip, "install", "-q", "--no-compile", f"{source}{extra}")
    run(*pip, "uninstall", "-q", "-y", "setuptools", "pip")
    for script in (prefix / "bin").iterdir():
        if not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(bytes(prefix), f"/{PREFIX}".encode()))
    compileall.compile_dir(prefix / "lib", stripdir=tree, prependdir="/", quiet=2)  # not all of it is meant to compile
    (tree / "usr/bin").mkdir(parents=True)
    for name in ("shazimd", "shazimctl"):
        (tree / "usr/bin" / name).symlink_to(f"/{PREFIX}/bin/{name}")


def describe(tree: Path) -> None:
    """Write what dpkg is to know of it, and to do."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    major, minor = sys.version_info[:2]
    control = CONTROL.format(
        version=version_of(CHECKOUT),
        architecture=run("dpkg", "--print-architecture").strip(),
        python=f"{major}.{minor}",
        next_python=f"{major}.{minor + 1}",
        size_kib=run("du", "-sk", tree).split()[0],
        summary=project["description"],
    )
    folder = tree / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(control)
    for name, script in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)


def run(*words: str | Path) -> str:
    """Run a program; its output. Ends with its own words when it fails."""
    if shutil.which(words[0]) is None:
        sys.exit(f"{words[0]} is needed, and not found")
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()

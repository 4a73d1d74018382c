"""How to install what only some models need. The package may not be on an index, so its requirements are named."""

from __future__ import annotations

import shlex
import sys


def missing(program: str, purpose: str, extra: str) -> str:
    """The message for a program of an extra (pyproject.toml) that is not installed."""
    return f"{program} is needed to {purpose} and is not installed; install it with: {install_command(extra)}"


def install_command(extra: str) -> str:
    """A shell command that installs the requirements of an extra beside this package."""
    from importlib.metadata import PackageNotFoundError, requires  # 2 MB in each worker, which never gets here

    try:
        listed = requires("shazimd") or []
    except PackageNotFoundError:  # run from a checkout
        listed = []
    wanted = [each.partition(";")[0].strip() for each in listed if f"extra == '{extra}'" in each.replace('"', "'")]
    return shlex.join([sys.executable, "-m", "pip", "install", *(wanted or [f"shazimd[{extra}]"])])

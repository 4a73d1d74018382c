"""Write the shell completions of `shazimctl` from its parser: run after a change of a command or an option."""

from __future__ import annotations

import argparse
import os

import shtab

from shazimd.cli import parser
from shazimd.cli.completion import SHELLS, script_path

FILES = {"IMAGE", "A", "B", "PATH"}
"""metavars of arguments that are files"""


def completions(shell: str) -> str:
    """Return the script for a shell."""
    top = parser()
    _mark_files(top)
    return str(shtab.complete(top, shell)).rstrip() + "\n"


def _mark_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _mark_files(sub)
        elif action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it


def main() -> None:
    for shell in SHELLS:
        os.makedirs(os.path.dirname(script_path(shell)), exist_ok=True)
        with open(script_path(shell), "w", encoding="utf-8") as script:
            script.write(completions(shell))


if __name__ == "__main__":
    main()

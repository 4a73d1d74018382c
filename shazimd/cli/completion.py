"""`shazimctl completion`: scripts that ``scripts/completions.py`` made from the parser."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SHELLS = ("bash", "zsh", "fish")

EXAMPLE = """\
examples:
  shazimctl completion bash > /usr/share/bash-completion/completions/shazimctl
  shazimctl completion zsh > /usr/share/zsh/site-functions/_shazimctl
  shazimctl completion fish > /usr/share/fish/vendor_completions.d/shazimctl.fish
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(args: Namespace) -> int:
    with open(script_path(args.shell), encoding="utf-8") as script:
        sys.stdout.write(script.read())
    return 0


def script_path(shell: str) -> str:
    return os.path.join(os.path.dirname(__file__), "completions", f"shazimctl.{shell}")

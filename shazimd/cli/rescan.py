"""`shazimctl rescan`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.arguments import absolute
from shazimd.cli.output import say
from shazimd.client import Client
from shazimd.text import readable

HELP = "scan a file, a directory, or all that is watched, again"
EXAMPLE = """\
examples:
  shazimctl rescan
  shazimctl rescan /srv/p/2026 && shazimctl wait
  shazimctl rescan --deep /srv/p/archive
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=absolute, metavar="PATH", help="a file or directory (default: every watched directory)"
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="read every file, to find changes without a trace: damage to the disk, or a change on another machine",
    )


def run(args: Namespace) -> int:
    Client(args.socket).rescan(args.path, deep=args.deep)
    what = "every root" if args.path is None else readable(args.path)
    say(f"Scanning {what}, and reading every file" if args.deep else f"Scanning {what}")
    return 0

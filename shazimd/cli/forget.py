"""`shazimctl forget`."""

from __future__ import annotations

from shazimd.cli.arguments import absolute
from shazimd.cli.output import say
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLE = """\
example:
  shazimctl forget /srv/p/old

The files themselves are left alone; one that still lies in a root is known again after its next change or rescan.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=absolute, metavar="PATH", help="a file or directory")


def run(args: Namespace) -> int:
    forgotten = Client(args.socket).forget(args.path)
    say(f"Forgot {forgotten} image(s)")
    return 0 if forgotten else 1

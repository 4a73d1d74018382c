"""`shazimctl web`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.arguments import port
from shazimd.cli.output import say
from shazimd.client import Client

HELP = "open the page: see duplicates, decide, clean up"
EXAMPLE = """\
examples:
  shazimctl web
  shazimctl web --port 8765 --no-browser
  ssh -L 8765:localhost:8765 nas shazimctl web --port 8765

The page shows the groups of duplicates: look at them, decide which file to keep, and clean up, with an undo for each
step. It is served on the loopback address only, to the browser that opens the printed link first. Pictures are read
with your rights. The daemon never listens on a network.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=port, metavar="N", default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the link only")


def run(args: Namespace) -> int:
    from shazimd.web.serve import serve

    serve(Client(args.socket), args.port, say, not args.no_browser)
    return 0

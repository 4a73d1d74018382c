"""`shazimctl metrics`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from shazimd.client import Client

HELP = "print the metrics, or write them for node_exporter"
EXAMPLE = """\
examples:
  shazimctl metrics
  shazimctl metrics --textfile /var/lib/prometheus/node-exporter/shazimd.prom

The file is for the textfile collector of node_exporter, and is replaced atomically.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--textfile", metavar="PATH", help="write to this file instead of standard output")


def run(args: Namespace) -> int:
    text = Client(args.socket).metrics()
    if args.textfile is None:
        sys.stdout.buffer.write(text)
    else:
        _write_whole(args.textfile, text)
    return 0


def _write_whole(path: str, text: bytes) -> None:
    from shazimd.errors import InternalError
    from shazimd.posix.files import atomic_write

    try:
        atomic_write(path, text, mode=0o644)  # node_exporter runs as another user
    except OSError as error:
        raise InternalError(f"{path}: {error.strerror}") from error

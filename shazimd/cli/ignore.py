"""`shazimctl ignore`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.arguments import digest_of_file
from shazimd.cli.output import say
from shazimd.client import Client
from shazimd.errors import UsageError

HELP = "stop reporting images as duplicates of each other"
EXAMPLE = """\
examples:
  shazimctl ignore dawn.jpg dusk.jpg
  shazimctl ignore --leave a.jpg a-for-print.jpg

The images are no longer reported as duplicates of each other, in alerts or in groups, wherever their files are moved.
They are recognised by their bytes. Take it back with: shazimctl undo ID
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="two or more files, or one with --leave")
    parser.add_argument(
        "--leave",
        action="store_true",
        help="they are duplicates, and all are to stay; also files with the same bytes (default: they are different)",
    )


def run(args: Namespace) -> int:
    digests = sorted({digest_of_file(image) for image in args.images})
    if not args.leave and len(digests) < 2:
        raise UsageError("two images with different bytes are needed; to keep files with the same bytes, add --leave")
    kind = "leave" if args.leave else "not_duplicates"
    (made,) = Client(args.socket).decide([{"kind": kind, "contents": digests}])
    say(f"Decision {made}: no longer reported. Take it back with: shazimctl undo {made}")
    return 0

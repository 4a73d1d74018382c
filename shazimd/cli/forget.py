"""`shazimctl forget`."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from shazimd.cli.arguments import absolute
from shazimd.cli.output import say
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLE = """\
examples:
  shazimctl forget /srv/p/old
  shazimctl forget --deleted
  shazimctl forget --content 5f1b0e4c7a9d2f6083b1c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819

`b2sum -l 256 IMAGE` prints the digest of an image. The files themselves are not changed; a file in a root is indexed
again after its next change or rescan. Images without a file stay indexed for [store] keep_deleted, 30 days by default;
--deleted removes them now. `shazimctl store compact` frees their disk space.
"""


def add_arguments(parser: ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("path", nargs="?", type=absolute, metavar="PATH", help="a file or directory")
    chosen.add_argument("--deleted", action="store_true", help="all images whose files are deleted")
    chosen.add_argument(
        "--content", type=_digest, metavar="DIGEST", help="the image with this BLAKE2b-256 digest, and all its files"
    )


def run(args: Namespace) -> int:
    forgotten = Client(args.socket).forget(args.path, deleted=args.deleted, content=args.content)
    say(f"Forgot {forgotten} {'deleted ' if args.deleted else ''}image(s)")
    return 0 if forgotten else 1


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ArgumentTypeError("expected 64 hexadecimal digits, as b2sum -l 256 prints them")
    return text

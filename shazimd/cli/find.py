"""`shazimctl find`."""

from __future__ import annotations

import os

from shazimd.cli.arguments import add_scoring, read_image
from shazimd.cli.output import complain, note_partial, path_text, per_cent, say, say_json, similarities, word_text
from shazimd.cli.parser import add_json
from shazimd.client import Client
from shazimd.errors import DaemonUnreachable, ShazimdError
from shazimd.text import path_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.protocol import FindReply

VERBOSE_THRESHOLD = 0.5
"""Threshold with -v, as in the original shazim."""

EXAMPLE = """\
examples:
  shazimctl find ski.jpg
  shazimctl find -v --limit 5 ski.jpg
  curl -s https://example.org/ski.jpg | shazimctl find --json -

exit status: that of the worst error if any image failed, else 0 if any image has a match, else 1
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help='a file, or "-" for standard input')
    add_scoring(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help=f"show the similarities; the threshold is then {VERBOSE_THRESHOLD}"
    )
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    threshold = VERBOSE_THRESHOLD if args.verbose and args.threshold is None else args.threshold
    found, worst, partial = False, 0, None
    for position, image in enumerate(args.images):
        try:
            reply = client.find(read_image(image), threshold, args.weights, args.limit)
        except DaemonUnreachable:
            raise
        except ShazimdError as error:
            worst = max(worst, error.exit_status)
            _print_error(image, error, args)
            continue
        found = found or bool(reply["matches"])
        if not reply["complete"]:
            partial = reply["known_images"]
        if args.json:
            say_json({**path_fields(os.fsencode(image), "query"), **reply})
        else:
            _print_reply(reply, args, heading=word_text(image) if len(args.images) > 1 else None, first=position == 0)
    if partial is not None:
        note_partial(partial)
    return worst or (0 if found else 1)


def _print_reply(reply: FindReply, args: Namespace, heading: str | None, first: bool) -> None:
    if heading is not None:
        if not first:
            say("")
        say(f"{heading}:")
    say(f"Found {len(reply['matches'])} image(s)")
    for match in reply["matches"]:
        say(f"{path_text(match)} at {per_cent(match['score'])} {match['verdict']}")
        if args.verbose:
            say(similarities(match))


def _print_error(image: str, error: ShazimdError, args: Namespace) -> None:
    complain(f"{word_text(image)}: {error.message}")
    if args.json:
        detail = {"code": error.code, "message": error.message}
        say_json({**path_fields(os.fsencode(image), "query"), "error": detail})

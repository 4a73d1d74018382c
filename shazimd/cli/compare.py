"""`shazimctl compare`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli import add_json
from shazimd.cli.arguments import add_weights, read_image
from shazimd.cli.output import per_cent, say, say_json, similarities, word_text
from shazimd.client import Client
from shazimd.errors import BadInput

HELP = "compare two images"
EXAMPLE = """\
example:
  shazimctl compare ski.jpg ski2.jpg

exit status: 1 if the images are unrelated
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help='a file, or "-" for standard input')
    parser.add_argument("b", metavar="B", help='another file, or "-"')
    add_weights(parser)
    add_json(parser)


def run(args: Namespace) -> int:
    names = [word_text(word) for word in (args.a, args.b)]
    reply = Client(args.socket).compare(_read(args.a), _read(args.b), args.weights, names)
    if args.json:
        say_json(reply)
    else:
        say(f"{per_cent(reply['score'])} {reply['verdict'] or 'unrelated'}")
        say(similarities(reply))
    return 0 if reply["verdict"] else 1


def _read(word: str) -> bytes:
    try:
        return read_image(word)
    except BadInput as error:
        raise type(error)(f"{word_text(word)}: {error}") from error

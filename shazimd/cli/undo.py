"""`shazimctl undo`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.arguments import decision_id
from shazimd.cli.decisions import WORDS
from shazimd.cli.output import say
from shazimd.client import Client

HELP = "take a decision back"
EXAMPLE = """\
example:
  shazimctl undo 7

`shazimctl decisions` lists the decisions with their ids. To undo a clean-up: shazimctl clean --undo
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=decision_id, metavar="ID", help="id of a decision")


def run(args: Namespace) -> int:
    undone = Client(args.socket).undo(args.id)
    say(f"Undone: decision {undone['id']}, {WORDS.get(undone['kind'], undone['kind'])}")
    return 0

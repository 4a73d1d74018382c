"""`shazimctl duplicates`."""

from __future__ import annotations

from shazimd.cli.arguments import add_scoring
from shazimd.cli.output import path_text, per_cent, say, say_json, size
from shazimd.cli.parser import add_json
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.protocol import Group, Member

EXAMPLE = """\
examples:
  shazimctl duplicates --limit 20
  shazimctl duplicates --threshold 0.9 --json

The first of a group is the one to keep; the others are tied to it. Nothing is ever deleted.
"""


def add_arguments(parser: ArgumentParser) -> None:
    add_scoring(parser)
    add_json(parser)


def run(args: Namespace) -> int:
    status = 1
    for group in Client(args.socket).duplicates(args.threshold, args.weights, args.limit):
        status = 0
        if args.json:
            say_json(group)
        else:
            _tell(group)
    return status


def _tell(group: Group) -> None:
    say(f"{len(group['members'])} images, {size(group['saves_bytes'])} to save")
    for member in group["members"]:
        say(
            f"  {path_text(member)}  {member['width']}x{member['height']}, {size(member['size_bytes'])}, {_tie(member)}"
        )


def _tie(member: Member) -> str:
    return "keep" if member["score"] is None else f"{per_cent(member['score'])} {member['verdict']}"

"""`shazimctl decisions`."""

from __future__ import annotations

from itertools import islice

from shazimd.cli import add_json
from shazimd.cli.arguments import read_lines
from shazimd.cli.output import path_text, report_none, say, say_json
from shazimd.client import Client
from shazimd.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from shazimd.protocol.groups import DecisionMessage

HELP = "list, export or import decisions about duplicates"
EXAMPLE = """\
examples:
  shazimctl decisions
  shazimctl decisions --export > decisions.jsonl
  shazimctl decisions --import decisions.jsonl

An export has a line of JSON for each decision. Images are named by the digests of their bytes, so an import works for
another index, and for images that are not there yet. Of several identical files the one to keep is named by its path.
A decision that is there already is not made twice.
"""

WORDS = {"not_duplicates": "not duplicates", "leave": "leave all", "keep": "keep one"}
"""of the kinds known here; a newer daemon may have others"""

IMPORTED_AT_ONCE = 1000
KEPT_FIELDS = ("kind", "contents", "keep", "keep_path", "keep_path_b64", "uid", "time")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--export", action="store_true", help="print the decisions as lines of JSON for --import")
    parser.add_argument("--import", dest="source", metavar="FILE", help='make the decisions in FILE, or "-"')
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    if args.source is not None:
        return _import(client, args.source)
    found = False
    for decision in client.decisions():
        found = True
        if args.export:
            say_json({field: value for field, value in decision.items() if field in KEPT_FIELDS})
        elif args.json:
            say_json(decision)
        else:
            _print(decision)
    return 0 if found or args.export else report_none("decisions")


def _print(decision: DecisionMessage) -> None:
    who = "" if decision["uid"] is None else f" by {_user(decision['uid'])}"
    say(f"{decision['id']}  {WORDS.get(decision['kind'], decision['kind'])}, {decision['time']}{who}")
    for file in decision["files"]:
        kept = "keep  " if file["content"] == decision["keep"] else ""
        say(f"    {kept}{path_text(file)}")
    unknown = len(set(decision["contents"]) - {file["content"] for file in decision["files"]})
    if unknown:
        say(f"    {unknown} of {len(decision['contents'])} images have no file now")


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _import(client: Client, source: str) -> int:
    """Make the decisions a thousand at a time; those before a bad line are kept."""
    made, lines = 0, _lines(source)
    while batch := list(islice(lines, IMPORTED_AT_ONCE)):
        made += len(client.decide(batch, accept_unknown=True))
    say(f"{made} decisions imported")
    return 0 if made else report_none("decisions imported")


def _lines(source: str) -> Iterator[Any]:
    import json

    for number, line in enumerate(read_lines(source).splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise BadInput(f"{source}: line {number} is no JSON: {error}") from error

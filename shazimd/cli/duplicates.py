"""`shazimctl duplicates`."""

from __future__ import annotations

from shazimd.cli import add_json
from shazimd.cli.arguments import add_scoring, content_id
from shazimd.cli.output import complain, note_partial, path_text, per_cent, report_none, say, say_as, say_json, size
from shazimd.cli.status import comparison
from shazimd.cli.working import Working
from shazimd.client import Client
from shazimd.errors import ShazimdError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.protocol import PairLine
    from shazimd.protocol.groups import DuplicateGroup, GroupMember

HELP = "list groups of duplicate images"
EXAMPLE = """\
examples:
  shazimctl duplicates --limit 20
  shazimctl duplicates --json
  shazimctl duplicates --all --threshold 0.9 --json > pairs.ndjson

The first member of a group is the image to keep; the others match it. Nothing is ever deleted. With --all every pair
with at least the threshold score is printed instead, without geometric confirmation. That takes minutes for 100,000
images and hours for a million; after an interruption, continue with --after and the last "after" that was printed.
"""


def add_arguments(parser: ArgumentParser) -> None:
    add_scoring(parser)
    parser.add_argument("--all", action="store_true", help="print every pair of images instead of groups")
    parser.add_argument("--after", type=content_id, metavar="ID", help="with --all: continue after this id")
    add_json(parser)


def run(args: Namespace) -> int:
    if args.all:
        return _list_pairs(args)
    if args.after is not None:
        raise UsageError("--after requires --all")
    client = Client(args.socket)
    status = client.status()
    if status["state"] in ("starting", "baseline"):
        note_partial(status["images"])
    relations = status.get("relations")
    if relations and relations["left"]:
        complain(f"compared so far: {comparison(relations)}; more groups may come (shazimctl wait --compared)")
    any_group = False
    with Working("looking for groups") as working:
        for group in client.duplicates(args.threshold, args.weights, args.limit):
            working.close()
            any_group = True
            if args.json:
                say_json(group)
            else:
                _print_group(group)
    return 0 if any_group else report_none("duplicates found")


def _list_pairs(args: Namespace) -> int:
    printed, after = 0, args.after or 0
    with Working("looking for pairs") as working:
        try:
            for pair in Client(args.socket).pairs(args.threshold, args.weights, after):
                after = pair["after"]
                if "score" in pair:
                    printed += 1
                    working.above(_print_pair, pair, args)
                if printed == args.limit:
                    break
                working.show(f"{printed:,} pairs, after {after}")
        except (KeyboardInterrupt, ShazimdError):
            working.close()
            complain(f"interrupted; continue with --after {after}")
            raise
    return 0 if printed else report_none("pairs found")


def _print_pair(pair: PairLine, args: Namespace) -> None:
    say_as(args, pair, f"{path_text(pair)}: {per_cent(pair['score'])} like {path_text(pair, 'match')}")


def _print_group(group: DuplicateGroup) -> None:
    reason = f"; keep the first: {group['reason']}" if "reason" in group else ""
    say(f"{len(group['members'])} images, {size(group['saves_bytes'])} to save{reason}")
    for member in group["members"]:
        damaged = ", damaged" if member.get("damaged") else ""
        shown = f"{member['width']}x{member['height']}, {size(member['size_bytes'])}{damaged}, {_tie(member)}"
        say(f"  {path_text(member)}  {shown}")


def _tie(member: GroupMember) -> str:
    return "keep" if member["score"] is None else f"{per_cent(member['score'])} {member['verdict']}"

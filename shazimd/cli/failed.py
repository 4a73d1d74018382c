"""`shazimctl failed`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli import add_json
from shazimd.cli.arguments import absolute
from shazimd.cli.output import path_text, report_none, say, say_as
from shazimd.client import Client
from shazimd.errors import UsageError

HELP = "list files that could not be read, or read them again"
EXAMPLE = """\
examples:
  shazimctl failed
  shazimctl failed --retry ~/Pictures/2019

A failed file is read again when it changes, after an update of shazimd or of a decoder, and after a change of the
limits in [workers]. --retry reads it again at once.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=absolute, metavar="PATH", help="with --retry: only this file, or files below it"
    )
    parser.add_argument("--retry", action="store_true", help="read the failed files again, in the background")
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    if args.retry:
        retried = client.retry_failed(args.path)
        say(f"{retried} failed files are read again")
        return 0 if retried else 1
    if args.path is not None:
        raise UsageError("PATH requires --retry")
    found = False
    for failed in client.failed():
        found = True
        since = "" if failed["since"] is None else f" (since {_time(failed['since'])})"
        say_as(args, failed, f"{path_text(failed)}: {failed['code']}: {failed['reason']}{since}")
    return 0 if found else report_none("failed files")


def _time(since: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since))

"""`shazimctl reload`."""

from __future__ import annotations

from shazimd.cli.output import say
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLE = """\
examples:
  shazimctl reload && shazimctl wait

Directories are added and removed, and thresholds changed, without dropping a question. A config that is broken changes
nothing, and the error says where.
"""


def add_arguments(_parser: ArgumentParser) -> None: ...


def run(args: Namespace) -> int:
    reply = Client(args.socket).reload()
    for root in reply["roots"]:
        say(f"watching {root}")
    for table in reply["restart_needed"]:
        say(f"[{table}] has changed, which counts only after a restart")
    return 0

"""`shazimctl reload`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.output import say
from shazimd.client import Client

HELP = "reload the configuration"
EXAMPLE = """\
examples:
  shazimctl reload && shazimctl wait

Directories are added and removed, and thresholds changed, without dropping a request. An invalid configuration changes
nothing; the error names the key or line.
"""

SERVICES = {"cluster": "shazimd and shazimd-link", "hook": "shazimd-hooks"}
"""of the tables that others than shazimd read"""


def add_arguments(_parser: ArgumentParser) -> None: ...


def run(args: Namespace) -> int:
    reply = Client(args.socket).reload()
    for root in reply["roots"]:
        say(f"watching {root}")
    for table in reply["restart_needed"]:
        say(f"[{table}] has changed; restart {SERVICES.get(table, 'shazimd')} to apply the change")
    return 0

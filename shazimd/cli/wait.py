"""`shazimctl wait`."""

from __future__ import annotations

import sys
import time

from shazimd.cli.arguments import seconds
from shazimd.cli.output import complain
from shazimd.client import Client
from shazimd.errors import DaemonUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.cli.progress import Bar
    from shazimd.protocol import Status

ASK_EVERY_S = 0.2
ANSWER_S = 10.0
"""A daemon that is silent for longer is stuck, not busy: its status waits for nothing."""
OVER = 5

EXAMPLE = """\
example:
  shazimctl wait --timeout 600 && shazimctl duplicates

It returns once the daemon is ready and nothing is pending. With --timeout it also waits for a daemon that is about to
start; when the time is over, the exit status is 5, or 3 if there was no daemon to the end.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up after so many seconds")


def run(args: Namespace) -> int:
    client = Client(args.socket, timeout_s=ANSWER_S)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    progress = _Progress()
    try:
        while not _done(status := _ask(client, deadline)):
            progress.show(status)
            if deadline is not None and time.monotonic() >= deadline:
                complain(
                    f"{args.timeout:g} s are over: it is {status['state']}, {status['pending']} images are pending"
                )
                return OVER
            time.sleep(ASK_EVERY_S)
    finally:
        progress.close()
    return 0


def _done(status: Status) -> bool:
    return status["state"] == "ready" and status["pending"] == 0


def _ask(client: Client, deadline: float | None) -> Status:
    """The status; with a deadline a daemon that is not there yet is waited for. Raises DaemonUnreachable."""
    while True:
        try:
            return client.status()
        except DaemonUnreachable:
            if deadline is None or time.monotonic() >= deadline:
                raise
        time.sleep(ASK_EVERY_S)


class _Progress:
    """Images known and left, how fast and how long, on a terminal; nothing elsewhere, nor when there is no wait."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def show(self, status: Status) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from shazimd.cli.progress import Bar

            self._bar = Bar()
        known = status["images"] + status["failed"]
        self._bar.show(status["state"], known, known + status["pending"])

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

"""`shazimctl wait`."""

from __future__ import annotations

import time

from shazimd.cli.arguments import seconds
from shazimd.cli.output import complain
from shazimd.cli.working import bar_on_terminal
from shazimd.client import Client
from shazimd.errors import DaemonUnreachable, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.cli.progress import Bar
    from shazimd.protocol.status import Status

POLL_S, POLL_MAX_S, IMAGES_PER_S = 0.2, 1.0, 1000
"""How often the status is asked for: less often while more images are left than can be done meanwhile."""
REQUEST_TIMEOUT_S = 10.0
"""Timeout of a status request: a working daemon answers at once."""
TIMED_OUT = 5

HELP = "wait until every image is indexed"
EXAMPLE = """\
example:
  shazimctl wait --timeout 600
  shazimctl wait --compared && shazimctl duplicates

The command returns once the daemon is ready and no image is pending; with --compared also no comparison of images in
the background, from which `duplicates` takes its groups. With --timeout it also waits for the daemon to
start; when the time is up, the exit status is 5, or 3 if the daemon never answered.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--timeout", type=seconds, metavar="S", help="maximum time to wait, in seconds")
    parser.add_argument("--compared", action="store_true", help="also wait until all images are compared")


def run(args: Namespace) -> int:
    client = Client(args.socket, timeout_s=REQUEST_TIMEOUT_S)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    bar: Bar | None = None
    try:
        while not _done(status := _ask(client, deadline), compared=args.compared):
            if bar := bar or bar_on_terminal():
                known = status["images"] + status["failed"]
                bar.show(status["state"], known, known + status["pending"])
            if deadline is not None and time.monotonic() >= deadline:
                complain(f"Timed out after {args.timeout:g} s: {_left(status)}")
                return TIMED_OUT
            pause_s = min(max(POLL_S, _images_left(status, compared=args.compared) / IMAGES_PER_S), POLL_MAX_S)
            time.sleep(pause_s if deadline is None else min(pause_s, max(0.0, deadline - time.monotonic())))
    finally:
        if bar is not None:
            bar.close()
    return 0


def _done(status: Status, *, compared: bool) -> bool:
    return status["state"] == "ready" and not _images_left(status, compared=compared)


def _images_left(status: Status, *, compared: bool) -> int:
    return status["pending"] + (status.get("relations", {"left": 0})["left"] if compared else 0)


def _left(status: Status) -> str:
    """Describe the unfinished work, such as "still scanning, 503 images pending"."""
    state = {"baseline": "still scanning", "ready": "ready"}.get(status["state"], f"still {status['state']}")
    return f"{state}, {status['pending']} images pending"


def _ask(client: Client, deadline: float | None) -> Status:
    """Return the status; with a deadline, wait for the daemon to start: systemd starts it for this question, and it
    answers Unavailable while it can't start, as before a disk is mounted. Raises DaemonUnreachable, Unavailable."""
    while True:
        try:
            return client.status()
        except (DaemonUnreachable, Unavailable):
            if deadline is None or time.monotonic() >= deadline:
                raise
        time.sleep(POLL_S)

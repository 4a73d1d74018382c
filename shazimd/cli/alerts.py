"""`shazimctl alerts`."""

from __future__ import annotations

import sys

from shazimd.cli import add_json
from shazimd.cli.arguments import since
from shazimd.cli.output import path_text, per_cent, report_none, say, say_json
from shazimd.client import Client
from shazimd.errors import DaemonUnreachable
from shazimd.text import alert_line, columns_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from shazimd.protocol import Alert

HELP = "list alerts, or follow new alerts"
EXAMPLE = """\
examples:
  shazimctl alerts --since 17
  shazimctl alerts --since 2026-01-01
  shazimctl alerts --follow --json

With --follow and no --since, only new alerts are printed. The command runs until it is interrupted or the daemon can't
be reached (exit status 3).
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        type=since,
        metavar="WHEN",
        help="only alerts after the one with this id, or since a time: 2h, today, 2026-11-22, '2026-11-22 15:04'",
    )
    parser.add_argument("--follow", action="store_true", help="keep running and print new alerts")
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    after = _id_before(client, args.since)
    if args.follow:
        _follow(client, args, after)
    any_alert = False
    for alert in client.alerts(after or 0):
        any_alert = True
        _print_alert(alert, args)
    return 0 if any_alert else report_none("alerts")


def _id_before(client: Client, since: int | str | None) -> int | None:
    """The id given, or the last one before a time: an RFC 3339 time in UTC, as alerts have."""
    if not isinstance(since, str):
        return since
    last = 0
    for alert in client.alerts():
        if alert.get("time", "") >= since:
            break
        last = alert["id"]
    return last


def _follow(client: Client, args: Namespace, since: int | None) -> None:
    """Print alerts until DaemonUnreachable is raised by a stream without any. The daemon ends a stream when its client
    is slow or at a restart, and cuts off one that is not read for long: reconnect."""
    while True:
        last = since
        try:
            for alert in client.events(since):
                since = alert["id"]
                _print_alert(alert, args)
        except DaemonUnreachable:
            if since == last:
                raise


def _print_alert(alert: Alert, args: Namespace) -> None:
    if args.json:
        say_json(alert)
        return
    if sys.stdout.isatty():
        for line in _on_terminal(alert):
            say(line)
        return
    when = f" {alert['time']}" if "time" in alert else ""
    damaged = " (damaged)" if alert.get("damaged") else ""
    what = f"{path_text(alert)}{damaged}: {per_cent(alert['score'])} {alert['verdict']} of {path_text(alert, 'match')}"
    more = f" and {alert['matches'] - 1} more" if alert["matches"] > 1 else ""
    bank = f" (bank {path_text(alert, 'bank')})" if "bank" in alert else ""
    say(f"{alert['id']}{when} {what}{more}{bank}")


def _on_terminal(alert: Alert) -> list[str]:
    """Lines that fit the terminal, with the local time."""
    from datetime import datetime

    when = f" {datetime.fromisoformat(alert['time']).astimezone():%d %b %H:%M}" if "time" in alert else ""
    prefix = f"{alert['id']}{when} "
    shown: dict[str, Any] = dict(alert)
    shown |= {key: path_text(alert, key) for key in ("path", "match", "bank") if key in alert}
    return (prefix + alert_line(shown, columns_of(sys.stdout), len(prefix))).split("\n")

"""`shazimctl alerts`."""

from __future__ import annotations

from shazimd.cli.arguments import alert_id
from shazimd.cli.output import path_text, per_cent, report_none, say, say_json
from shazimd.cli.parser import add_json
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.protocol import Alert

EXAMPLE = """\
examples:
  shazimctl alerts --since 17
  shazimctl alerts --follow --json

With --follow and no --since, only new alerts are printed. The command runs until it is interrupted or the daemon can't
be reached (exit status 3).
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--since", type=alert_id, metavar="ID", help="only alerts with an id greater than this")
    parser.add_argument("--follow", action="store_true", help="keep running and print new alerts")
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    if args.follow:
        _follow(client, args)
    any_alert = False
    for alert in client.alerts(args.since or 0):
        any_alert = True
        _print_alert(alert, args)
    return 0 if any_alert else report_none("alerts")


def _follow(client: Client, args: Namespace) -> None:
    """Print alerts until DaemonUnreachable is raised. The daemon ends a stream when its client is slow or at a restart:
    reconnect."""
    since = args.since
    while True:
        for alert in client.events(since):
            since = alert["id"]
            _print_alert(alert, args)


def _print_alert(alert: Alert, args: Namespace) -> None:
    if args.json:
        say_json(alert)
        return
    when = f" {alert['time']}" if "time" in alert else ""
    what = f"{path_text(alert)}: {per_cent(alert['score'])} {alert['verdict']} of {path_text(alert, 'match')}"
    more = f" and {alert['matches'] - 1} more" if alert["matches"] > 1 else ""
    say(f"{alert['id']}{when} {what}{more}")

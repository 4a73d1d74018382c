"""`shazimctl status`."""

from __future__ import annotations

import sys

from shazimd.cli import add_json
from shazimd.cli.output import duration, path_text, per_cent, say_folded, say_json, size
from shazimd.client import Client
from shazimd.text import counted, scan_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from shazimd.protocol import Alert
    from shazimd.protocol.status import ModelStatus, RelationsStatus, RootStatus, Status, WorkersStatus

HELP = "show the state of the daemon"
EXAMPLE = """\
examples:
  shazimctl status
  shazimctl status --watch
  shazimctl status --json
"""

WATCH_INTERVAL_S = 2.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="show it again every two seconds, until interrupted")
    add_json(parser)


def run(args: Namespace) -> int:
    client = Client(args.socket)
    _show(client.status(), args)
    while args.watch:
        import time

        time.sleep(WATCH_INTERVAL_S)
        _show(client.status(), args)
    return 0


def _show(status: Status, args: Namespace) -> None:
    if args.json:
        say_json(status)
        return
    if args.watch and sys.stdout.isatty():
        sys.stdout.write(HOME_AND_CLEAR)
    for name, value in _summary(status):
        say_folded(f"{name:<9} ", value)


def _summary(status: Status) -> Iterator[tuple[str, str]]:
    yield "state", status["state"] + (f", {status['pending']:,} files to look at" if status["pending"] else "")
    failed = f", {status['failed']:,} could not be read" if status["failed"] else ""
    yield "images", f"{counted(status['images'], 'file')}; {status['contents']:,} different known{failed}"
    if relations := status.get("relations"):
        yield "compared", comparison(relations)
    for root in status["roots"]:
        yield "folder", path_text(root)
        yield "", _root(root)
        if root.get("failed"):
            yield "", f"{root['failed']:,} could not be read: shazimctl failed"
        if passed_over := root["reconcile"].get("passed_over"):
            yield "", f"{passed_over:,} files are not named like images (see sniff in shazimd.toml(5))"
        if root.get("silent_s"):
            yield "", f"no alerts for another {duration(root['silent_s'])}"
        yield from _last_alert(root.get("last_alert"))
    if status.get("last_alert") is None:
        yield "alerts", "none so far"
    yield "model", _model(status["model"])
    fault = f"; {status['store']['fault']}" if status["store"]["fault"] else ""
    yield "store", f"{status['store']['path']}, {size(status['store']['size_bytes'])}{fault}"
    yield "workers", confinement(status.get("workers"))
    yield "memory", size(status["rss_bytes"])
    yield "uptime", f"{duration(status['uptime_s'])}, version {status['version']}"


def comparison(relations: RelationsStatus) -> str:
    """The progress of the comparison of all images with each other."""
    if not relations["left"]:
        return "all images"
    seconds = relations["seconds_left"]
    left = "" if seconds is None else f", about {duration(seconds)} left"
    return f"{relations['done']} of {relations['done'] + relations['left']} images{left}"


def confinement(workers: WorkersStatus | None) -> str:
    """Whether an attacker who takes over a decoder is confined to its process."""
    missing = None if workers is None else workers["missing_layers"]
    if missing is None:
        return "none has started yet"
    return f"confined, but without {'; '.join(missing)}" if missing else "confined"


def _root(root: RootStatus) -> str:
    """The state of a root: its first scan, or the way in which it is watched."""
    if root["state"] != "watching":
        return _STATES.get(root["state"], root["state"])
    if (progress := root.get("progress")) is not None:
        return scan_progress(**progress)
    how = "watched" if root["mode"] == "inotify" else "compared at intervals"
    unread = f", {root['unreadable_dirs']:,} may not be read" if root["unreadable_dirs"] else ""
    polled = f", {root['unwatched_dirs']:,} compared at intervals" if root["unwatched_dirs"] else ""
    return f"{how}, {counted(root['watched_dirs'], 'directory')}{unread}{polled}"


_STATES = {
    "failed": "not watched after a fault, which the daemon's log has; `shazimctl reload` watches it again",
    "unavailable": "not there; its images stay known until it is back",
    "held": "many files are gone, or another disk is there; forgotten after a day, or at once by `shazimctl rescan`",
}


def _last_alert(alert: Alert | None) -> Iterator[tuple[str, str]]:
    """The last alert of a root."""
    if alert is not None:
        when = f", {alert['time'][:16].replace('T', ' ')} UTC" if "time" in alert else ""
        yield "", f"last alert: {alert['verdict']} {per_cent(alert['score'])}{when}"
        yield "", f"  {path_text(alert)}"
        yield "", f"  like {path_text(alert, 'match')}"


def _model(model: ModelStatus) -> str:
    if model.get("id"):
        return f"{model['handle']} ({model['id']})"
    reason = f"; {model['reason']}" if model.get("reason") else ""
    return f"{model.get('state', 'none')}: only the hashes are compared{reason}"

"""`shazimctl store`."""

from __future__ import annotations

from shazimd.cli.output import say, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EXAMPLE = """\
examples:
  sudo shazimctl store backup /mnt/backup/shazimd-2026-11-22      while the daemon runs
  sudo shazimctl store check
  sudo systemctl stop shazimd.socket shazimd.service
  sudo shazimctl store restore /mnt/backup/shazimd-2026-11-22
  sudo systemctl start shazimd.socket shazimd.service

These read the store itself, so they take the right to: that of root, or of the user of the daemon. compact asks the
daemon if one runs. exit status of check: 5 if something is wrong
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--store", metavar="DIR", help="the store (default: as shazimd(8))")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("check", help="compare all its tables with each other")
    verbs.add_parser("compact", help="give the disk back what removed rows took")
    backup = verbs.add_parser("backup", help="write a consistent copy into a new directory")
    backup.add_argument("path", metavar="PATH", help="the directory to make")
    restore = verbs.add_parser("restore", help="put a copy in the place of the store; the daemon must be stopped")
    restore.add_argument("path", metavar="PATH", help="a directory that backup made")


def run(args: Namespace) -> int:
    from shazimd import config, paths
    from shazimd.config import Config
    from shazimd.store import maintenance

    path = paths.config_file()
    settings = (config.load(path) if path else Config()).store
    store = args.store or settings.path or paths.store_directory()
    if args.verb == "check":
        return _check(maintenance.check(store))
    if args.verb == "compact":
        return _compact(args, store, settings.map_size_gb << 30)
    if args.verb == "backup":
        maintenance.backup(store, args.path)
        say(f"copied {store} to {args.path}")
    else:
        maintenance.restore(store, args.path)
        say(f"put {args.path} in the place of {store}")
    return 0


def _check(found: list[str]) -> int:
    for problem in found:
        say(problem)
    if not found:
        say("all is well")
    return 5 if found else 0


def _compact(args: Namespace, store: str, map_size_bytes: int) -> int:
    from shazimd.client import Client
    from shazimd.errors import DaemonUnreachable
    from shazimd.store import maintenance

    try:
        reply = Client(args.socket, timeout_s=3600).compact()
    except DaemonUnreachable:
        maintenance.compact(store, map_size_bytes)
        say("compacted")
    else:
        say(f"compacted: {size(reply['before_bytes'])} before, {size(reply['after_bytes'])} now")
    return 0

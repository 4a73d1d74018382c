"""`shazimctl store`."""

from __future__ import annotations

import os
from contextlib import suppress

from shazimd.cli.arguments import path
from shazimd.cli.output import complain, say, size
from shazimd.cli.working import Working

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.client import Client
    from shazimd.config import Config

HELP = "check, compact, back up or restore the store"
EXAMPLE = """\
examples:
  sudo shazimctl store backup /mnt/backup/shazimd-2026-11-22      while the daemon runs
  sudo shazimctl store check
  sudo systemctl stop shazimd.socket shazimd.service
  sudo shazimctl store restore /mnt/backup/shazimd-2026-11-22
  sudo systemctl start shazimd.socket shazimd.service
  sudo shazimctl store repair                                     after check found damage; the daemon must be stopped

These commands read the store directly: run them as root or as the daemon's user. compact is done by the daemon if it is
running, unless --store names another one, and also removes the feature vectors of unused models. Without a daemon
compact removes the search index too, and the next start of shazimd rebuilds it.

check and backup look for damage first: to the structure of the file, and to each row by its checksum. check names the
files that damage concerns. repair keeps all that is whole, and the damaged file under another name; shazimd then reads
or decodes the rest again, and may raise alerts for its duplicates again. The damaged file has all that the store had:
delete it when you need it no more, at the latest when its pictures are to be forgotten. compact names it.

exit status of check: 5 for a problem
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--store", type=path, metavar="DIR", help="the store (default: as in shazimd(8))")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("check", help="look for damage, and for contradictions between the tables")
    verbs.add_parser("compact", help="free the disk space of removed rows")
    backup = verbs.add_parser("backup", help="write a consistent copy to a new directory")
    backup.add_argument("path", type=path, metavar="PATH", help="the directory to create")
    verbs.add_parser("repair", help="rebuild a damaged store from all that is whole; the daemon must be stopped")
    restore = verbs.add_parser("restore", help="replace the store by a backup; the daemon must be stopped")
    restore.add_argument("path", type=path, metavar="PATH", help="a directory made by backup")


def run(args: Namespace) -> int:
    from shazimd import config, paths
    from shazimd.store import maintenance

    settings = config.found()
    store = args.store or settings.store.path or paths.store_directory()
    with Working(_TEXTS[args.verb]) as working:
        if args.verb == "check":
            return _check(maintenance.check(store, working.show), working)
        if args.verb == "compact":
            return _compact(args, store, settings, working)
        if args.verb == "repair":
            return _repair(store, settings, working)
        if args.verb == "backup":
            maintenance.backup(store, args.path, working.show)
            done = f"copied {store} to {args.path}"
        else:
            maintenance.restore(store, args.path, working.show)
            done = f"replaced {store} by {args.path}"
        working.close()
        say(done)
        return 0


_TEXTS = {
    "check": "looking for damage",
    "repair": "looking for damage",
    "backup": "looking for damage",
    "restore": "copying",
    "compact": "compacting",
}
"""The first step of each verb."""


def _check(found: list[str], working: Working) -> int:
    working.close()
    for problem in found:
        say(problem)
    if not found:
        say("no problems found")
    return 5 if found else 0


def _repair(store: str, settings: Config, working: Working) -> int:
    from shazimd.store import maintenance

    done = maintenance.repair(store, settings.store.map_size_gb << 30, working.show)
    working.close()
    for problem in done.problems:
        say(problem)
    if done.problems:
        say(f"repaired: all that is whole was kept, and shazimd makes the rest again; the damaged file is {done.kept}")
        _note_kept([done.kept])
    else:
        say("no problems found; nothing was changed")
    return 0


def _compact(args: Namespace, store: str, settings: Config, working: Working) -> int:
    from shazimd.client import Client
    from shazimd.errors import DaemonUnreachable
    from shazimd.models.registry import Registry
    from shazimd.store import maintenance

    client = Client(args.socket, timeout_s=3600)
    try:
        reply = client.compact() if args.store is None or _is_open(client, args.store) else None
    except DaemonUnreachable:
        reply = None
    if reply is None:
        model = Registry(os.path.join(store, "models")).find(settings.model.handle)
        maintenance.compact(store, settings.store.map_size_gb << 30, model.id if model else None)
        done = "compacted"
    else:
        done = f"compacted: {size(reply['before_bytes'])} before, {size(reply['after_bytes'])} now"
    working.close()
    say(done)
    with suppress(OSError):  # the daemon's store, which this user may not read
        _note_kept(maintenance.left_by_repairs(store))
    return 0


def _note_kept(files: list[str]) -> None:
    for name in files:
        complain(f"{name} has what was forgotten since the repair, too: delete it once it is not needed")


def _is_open(client: Client, store: str) -> bool:
    """Whether this is the store of the daemon."""
    from shazimd.text import path_bytes

    try:
        return os.path.samefile(path_bytes(client.status()["store"]), store)
    except OSError:
        return False

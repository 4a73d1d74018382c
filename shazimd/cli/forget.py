"""`shazimctl forget`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.cli.arguments import absolute, digest
from shazimd.cli.output import complain, path_text, report_none, say
from shazimd.client import Client
from shazimd.errors import UsageError
from shazimd.text import readable

HELP = "remove a file, or a directory and everything below it, from the index"
EXAMPLE = """\
examples:
  shazimctl forget /srv/p/old
  shazimctl forget --ignore /srv/p/private
  shazimctl forget --deleted
  shazimctl forget --content 5f1b0e4c7a9d2f6083b1c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819

`b2sum -l 256 IMAGE` prints the digest of an image. The files themselves are not changed. A file that still lies in a
watched directory is indexed, and may raise an alert, again after its next change or scan; with --ignore it stays out
under this path, until --unignore. Images without a file stay indexed for [store] keep_deleted, 30 days by default;
--deleted removes them now. `shazimctl store compact` frees their disk space. A picture that another host of a cluster
has, too, stays known until it is forgotten there.
"""


def add_arguments(parser: ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("path", nargs="?", type=absolute, metavar="PATH", help="a file or directory")
    chosen.add_argument("--deleted", action="store_true", help="all images whose files are deleted")
    chosen.add_argument(
        "--content", type=digest, metavar="DIGEST", help="the image with this BLAKE2b-256 digest, and all its files"
    )
    chosen.add_argument("--ignored", action="store_true", help="list the files and directories that stay out")
    chosen.add_argument("--unignore", type=absolute, metavar="PATH", help="let an ignored file or directory in again")
    parser.add_argument("--ignore", action="store_true", help="keep PATH out from now on, though it still lies there")


def run(args: Namespace) -> int:
    client = Client(args.socket)
    if args.ignore and args.path is None:
        raise UsageError("--ignore is about a PATH, and there is none")
    if args.ignored:
        return _list(client)
    if args.unignore is not None:
        client.unignore(args.unignore)
        say(f"{readable(args.unignore)} is indexed again")
        return 0
    reply = client.forget(args.path, deleted=args.deleted, content=args.content, ignore=args.ignore)
    say(f"Forgot {reply['forgotten']} {'deleted ' if args.deleted else ''}image(s)")
    if hosts := reply.get("held_by"):
        complain(
            f"the files of this host are forgotten, but the picture stays known: it still lies on {', '.join(hosts)}; "
            "to remove it, delete and forget it there"
        )
    if args.ignore:
        say(f"{readable(args.path)} stays out until: shazimctl forget --unignore PATH")
    elif reply["comes_back"]:
        complain(f"{readable(args.path)} still lies there and comes back after its next change or scan; see --ignore")
    return 0 if reply["forgotten"] or args.ignore else 1


def _list(client: Client) -> int:
    paths = client.ignored()
    for path in paths:
        say(path_text(path))
    return 0 if paths else report_none("ignored paths")

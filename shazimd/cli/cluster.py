"""`shazimctl cluster`."""

from __future__ import annotations

from shazimd.cli import add_json
from shazimd.cli.output import say_as
from shazimd.paths import CONFIG_HELP
from shazimd.text import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from shazimd.cluster.base import HostState

HELP = "make a cluster's tables, list its hosts, forget a host"
EXAMPLE = """\
examples:
  shazimctl cluster init postgresql://db.example.org/shazim
  shazimctl cluster status
  shazimctl cluster forget nas3

The tables are made once, in a database of its own, by the role that owns it. docs/how-to-cluster.md has the whole way.
"""


def add_arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    init = verbs.add_parser("init", help="make the tables, or bring them to this version")
    status = verbs.add_parser("status", help="list the hosts: files, what others have still to read, last seen")
    forget = verbs.add_parser("forget", help="remove a host that is gone for good, with all its files")
    forget.add_argument("host", metavar="HOST")
    for verb in (init, status, forget):
        verb.add_argument("url", metavar="URL", nargs="?", help="the database; else [cluster] url")
        verb.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
        add_json(verb)


def run(args: Namespace) -> int:
    from shazimd.errors import ConfigError

    try:
        from shazimd.cluster import admin
    except ImportError as error:
        raise ConfigError("psycopg is not installed, expected the extra: pip install 'shazimd[cluster]'") from error
    url = args.url or _configured(args.config)
    if args.verb == "init":
        made = admin.init(url)
        text = f"made the tables: migrations {', '.join(map(str, made))}" if made else "the tables are as expected"
        say_as(args, {"migrations": made}, text)
        return 0
    if args.verb == "forget":
        files = admin.forget(url, args.host)
        say_as(args, {"forgotten": files}, f"forgot {args.host}: {files} files")
        return 0
    hosts = admin.hosts(url)
    for host in hosts:
        say_as(args, host._asdict(), _line(host))
    return 0 if hosts else 1


def _configured(path: str | None) -> str:
    from shazimd import config
    from shazimd.errors import ConfigError

    url = config.found(path).cluster.url
    if url is None:
        raise ConfigError("no database: give its URL, or set [cluster] url in the configuration")
    return url


def _line(host: HostState) -> str:
    """A host in a line, such as "nas1  1200 files, seen 3 s ago, nas2 has 5 changes to read"."""
    behind = [f"{name} has {owed} changes to read" for name, owed in host.followers.items() if owed]
    seen = f"seen {duration(host.seen_s)} ago"
    return f"{host.name}  " + ", ".join([f"{host.files} files", seen, *(behind or ["all followers have all"])])

"""`shazimctl status`."""

from __future__ import annotations

from shazimd.cli.output import duration, path_text, say, say_json, size
from shazimd.cli.parser import add_json
from shazimd.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from shazimd.protocol import ModelStatus, RelationsStatus, RootStatus, Status

EXAMPLE = """\
examples:
  shazimctl status
  shazimctl status --json
"""


def add_arguments(parser: ArgumentParser) -> None:
    add_json(parser)


def run(args: Namespace) -> int:
    status = Client(args.socket).status()
    if args.json:
        say_json(status)
    else:
        for name, value in _summary(status):
            say(f"{name:<9} {value}")
    return 0


def _summary(status: Status) -> Iterator[tuple[str, str]]:
    yield "state", status["state"]
    yield "images", f"{status['images']} ({status['contents']} contents)"
    yield "pending", str(status["pending"])
    yield "failed", str(status["failed"])
    if relations := status.get("relations"):
        yield "compared", comparison(relations)
    for root in status["roots"]:
        yield "root", _root(root)
    yield "model", _model(status["model"])
    yield "store", f"{status['store'].get('path')}, {size(status['store'].get('size_bytes', 0))}"
    yield "memory", size(status["rss_bytes"])
    yield "uptime", duration(status["uptime_s"])
    yield "version", status["version"]


def comparison(relations: RelationsStatus) -> str:
    """The progress of the comparison of all images with each other."""
    if not relations["left"]:
        return "all images"
    seconds = relations["seconds_left"]
    left = "" if seconds is None else f", about {duration(seconds)} left"
    return f"{relations['done']} of {relations['done'] + relations['left']} images{left}"


def _root(root: RootStatus) -> str:
    return f"{path_text(root)} ({root['mode']}, {root['state']}, {root['watched_dirs']} directories)"


def _model(model: ModelStatus) -> str:
    if model.get("id"):
        return f"{model['handle']} ({model['id']})"
    reason = f"; {model['reason']}" if model.get("reason") else ""
    return f"{model.get('state', 'none')}: only the hashes are compared{reason}"

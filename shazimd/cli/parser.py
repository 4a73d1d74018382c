"""The commands of `shazimctl` and what they take."""

from __future__ import annotations

import argparse
import os

from shazimd import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMANDS = {
    "find": "find known images like these",
    "compare": "say what two images are to each other",
    "status": "say how the daemon is",
    "wait": "wait until every image is known",
    "duplicates": "list the groups of images that show the same",
    "clean": "act on duplicates, with a dry run first and an undo",
    "alerts": "list the alerts, or follow them as they come",
    "rescan": "compare a path, or every root, with the disk",
    "forget": "forget a file, or a directory with all below it",
    "model": "install or list models",
    "metrics": "print the metrics, or write them for node_exporter",
    "doctor": "look for what is wrong, and say what to do",
    "store": "check, compact, back up or restore the store",
    "reload": "have the config read again",
    "hooks": "run the hooks of the config",
    "service": "install or uninstall the systemd service",
    "completion": "print a script of completions for a shell",
}
"""Each is a module here by the same name."""

EXIT_STATUSES = """\
exit status:
  0  found or done                 3  the daemon can't be reached
  1  nothing found                 4  bad input
  2  usage                         5  the daemon reported an error, or a wait was over
"""


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of the one that is needed: building the others takes time."""
    top = argparse.ArgumentParser(
        prog="shazimctl",
        description="Ask the shazimd daemon.",
        epilog=EXIT_STATUSES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    top.add_argument(
        "--socket", metavar="PATH", help="the daemon's socket (default: $SHAZIMD_SOCKET, or as shazimd(8))"
    )
    top.add_argument("--version", action="version", version=f"shazimctl {__version__}")
    commands = top.add_subparsers(prog="shazimctl", dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS if only is None else (only,):
        module = _module(name)
        command = commands.add_parser(
            name,
            help=COMMANDS[name],
            description=COMMANDS[name].capitalize() + ".",
            epilog=module.EXAMPLE,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def add_json(command: argparse.ArgumentParser) -> None:
    """Most commands have this one."""
    command.add_argument("--json", action="store_true", help="answer in JSON, one object a line")


def command_of(words: Sequence[str]) -> str | None:
    """The command that these words name; None where the whole parser must say what is wrong, or help."""
    rest = iter(words)
    for word in rest:
        if word == "--socket":
            next(rest, None)
        elif not word.startswith("--socket="):
            return word if word in COMMANDS else None
    return None


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse makes a formatter for every argument, and one that is not told its width imports shutil to find out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:  # standard output is no terminal
        return 80


def _module(name: str) -> Any:
    return __import__(f"shazimd.cli.{name}", fromlist=["run"])  # importlib would be one more import

"""`shazimctl`: parse a command line, ask the daemon, print text or JSON, return an exit status.

    find.py ...   a module per command: ``HELP``, ``EXAMPLE``, ``add_arguments``, ``run``
    arguments.py  argument types        output.py     lines with control characters escaped
    completions/  scripts for the shells

A command imports only the modules needed: `status` takes about 34 ms (tests/cli/test_cli.py checks its imports).
"""

from __future__ import annotations

import argparse
import os
import sys

from shazimd import __version__
from shazimd.cli.output import complain, word_text
from shazimd.errors import InternalError, ShazimdError
from shazimd.posix.streams import open_closed_streams
from shazimd.text import columns_of, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

INTERRUPTED = 128 + 2
PIPE_CLOSED = 128 + 13

FIRST = ("find", "compare", "status", "wait", "duplicates", "clean", "web")
"""The commands at the top of the list; the others follow by name."""

_HERE = os.path.dirname(__file__)

EXIT_STATUSES = """\
exit status:
  0  found or done                 3  the daemon can't be reached, or refuses the user
  1  nothing found                 4  bad input
  2  usage                         5  the daemon reported an error, or the timeout expired
"""


def main() -> NoReturn:
    """Run the command in sys.argv and exit with its status."""
    open_closed_streams()
    status = run(sys.argv[1:])
    sys.stderr.flush()
    # Everything is flushed. Interpreter shutdown would make `status` an eighth slower (4 of 34 ms).
    os._exit(status)


def run(words: Sequence[str]) -> int:
    """Run a command and return its exit status (see ``parser``).

    Raises SystemExit for --help, --version and bad usage."""
    try:
        # A file name outside the locale's character set is shown escaped. Line by line: Python buffers 8 kB for a pipe,
        # where `alerts --follow | cat` would show an alert hours late and lose the last ones at SIGTERM.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper
        args = parser(command_of(words)).parse_args(words)
        status: int = args.run(args)
        sys.stdout.flush()
    except ShazimdError as error:
        complain(error.message)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as head(1), has closed the pipe; Python's flush at exit would report the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        complain(f"{_place_of(error)}: {error.strerror or error}")
        return InternalError.exit_status
    return status


def _place_of(error: OSError) -> str:
    if error.filename is not None:
        return word_text(os.fsdecode(error.filename))
    return "the working directory" if isinstance(error, FileNotFoundError) else "standard output"


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of all commands, or of ``only`` one command, which is faster."""
    top = CommandParser(
        prog="shazimctl",
        description="Query and control the shazimd daemon.",
        epilog=EXIT_STATUSES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    top.add_argument(
        "--socket",
        metavar="PATH",
        help="the daemon's socket, also accepted after COMMAND (default: $SHAZIMD_SOCKET, or as in shazimd(8))",
    )
    top.add_argument("--version", action="version", version=f"shazimctl {__version__}")
    commands = top.add_subparsers(prog="shazimctl", dest="command", metavar="COMMAND", required=True)
    for name in command_names() if only is None else (only,):
        module = _module(name)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP.capitalize() + ".",
            epilog=module.EXAMPLE,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        _add_socket(command)
        command.set_defaults(run=module.run)
    return top


def command_names() -> list[str]:
    """All commands: the modules of this package that have ``HELP``."""
    found = {name for file in os.listdir(_HERE) if _is_command(name := file.removesuffix(".py"))}
    return [*FIRST, *sorted(found.difference(FIRST))]


def _is_command(word: str) -> bool:
    is_module = f"{word}.py" in os.listdir(_HERE) and not word.startswith("_")
    return is_module and hasattr(_module(word), "HELP")


def _add_socket(command: argparse.ArgumentParser) -> None:
    """Accept --socket after a command and its verb too; hidden, and without a default, to keep a value from before."""
    command.add_argument("--socket", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _add_socket(verb)


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument("--json", action="store_true", help="print JSON, one object per line")


def command_of(words: Sequence[str]) -> str | None:
    """Return the command in ``words``, or None if the parser of all commands must report an error or print help."""
    rest = iter(words)
    for word in rest:
        if word == "--socket":
            next(rest, None)
        elif not word.startswith("--socket="):
            return word if _is_command(word) else None
    return None


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors repeat words of the command line with control characters escaped."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help formatter with a given width: argparse creates a formatter per argument, and without a width each imports
    shutil to find the width. Paragraphs of prose are wrapped, examples stay as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            paragraph if "\n  " in paragraph else argparse.HelpFormatter._fill_text(self, paragraph, width, indent)
            for paragraph in paragraphs
        )


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return columns_of(sys.stdout)


def _module(name: str) -> Any:
    return __import__(f"shazimd.cli.{name}", fromlist=["run"])  # importlib would be one more import

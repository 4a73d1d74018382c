"""`shazimctl`: words in, words or JSON out, an exit status.

    parser.py     the commands and what they take       arguments.py  how a word becomes a value
    output.py     lines that no path can forge          completions/  scripts for the shells
    find.py ...   one module for each command: ``EXAMPLE``, ``add_arguments``, ``run``

Only what a command needs is imported, so that it answers before the prompt is missed.
"""

from __future__ import annotations

import os
import sys

from shazimd.cli.output import complain
from shazimd.cli.parser import command_of, parser
from shazimd.errors import InternalError, ShazimdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main", "parser", "run"]

INTERRUPTED = 128 + 2
PIPE_CLOSED = 128 + 13


def main() -> NoReturn:
    """The program: run the command that sys.argv has, and end with its status."""
    status = run(sys.argv[1:])
    sys.stderr.flush()
    # Everything is flushed. To take the interpreter apart first would make `status` an eighth slower (4 of 34 ms).
    os._exit(status)


def run(words: Sequence[str]) -> int:
    """Run a command; its exit status (see ``parser``). Raises SystemExit for --help, --version and bad usage."""
    try:
        # A locale that can't show a name shows it escaped.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # it is a TextIOWrapper
        args = parser(command_of(words)).parse_args(words)
        status: int = args.run(args)
        sys.stdout.flush()
    except ShazimdError as error:
        complain(error.message)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as head(1), has what it wanted; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        complain(f"standard output: {error.strerror}")
        return InternalError.exit_status
    return status

"""`shazimctl`: parse a command line, ask the daemon, print text or JSON, return an exit status.

    parser.py     the commands and their parsers        arguments.py  argument types
    output.py     lines with control characters escaped completions/  scripts for the shells
    find.py ...   a module per command: ``EXAMPLE``, ``add_arguments``, ``run``

A command imports only the modules needed: `status` takes about 34 ms (tests/cli/test_cli.py checks its imports).
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
    """Run the command in sys.argv and exit with its status."""
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
        complain(f"standard output: {error.strerror}")
        return InternalError.exit_status
    return status

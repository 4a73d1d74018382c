"""Lines on standard output, errors on standard error; control characters in paths are escaped."""

from __future__ import annotations

import os
import sys

from shazimd.text import SIGNAL_WORDS, SIMILARITIES, columns_of, printable, readable
from shazimd.text import duration as duration
from shazimd.text import path_text as path_text
from shazimd.text import size as size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping
    from typing import Any

NOTHING_FOUND = 1


def say(line: str) -> None:
    """Print a line on standard output, with control characters and line breaks escaped."""
    print(printable(line))


def say_folded(label: str, text: str) -> None:
    """Print a text after a label; on a terminal, lines that are too long go on below the text's beginning."""
    if not sys.stdout.isatty():
        say(f"{label}{text}")
        return
    import textwrap

    columns = columns_of(sys.stdout)
    label, below = (label, " " * len(label)) if columns > 3 * len(label) else (f"{label.strip()} ".lstrip(), "  ")
    for line in textwrap.wrap(
        printable(text),
        columns,
        initial_indent=label,
        subsequent_indent=below,
        break_on_hyphens=False,
    ):
        say(line)


def say_json(item: object) -> None:
    """Print an object as a line of ASCII JSON."""
    import json

    print(json.dumps(item))


def say_as(args: Namespace, item: object, text: str) -> None:
    """Print an object as JSON with --json, else its text as a line."""
    if args.json:
        say_json(item)
    else:
        say(text)


def complain(message: str) -> None:
    print(printable(f"shazimctl: {message}"), file=sys.stderr)


def report_none(what: str) -> int:
    """Report an empty result on standard error, which keeps standard output empty; return the exit status."""
    complain(f"no {what}")
    return NOTHING_FOUND


def note_partial(known_images: int) -> None:
    """Say that an answer may lack images, on standard error, which keeps standard output and the exit status."""
    complain(f"the first scan is not finished: only the {known_images:,} images known so far were searched")


def note_unverified(pictures: int) -> None:
    """Likewise, of other hosts' pictures that were not compared in detail."""
    complain(f"{pictures:,} likely matches of other hosts not verified: the cluster's database did not answer in time")


def word_text(word: str) -> str:
    """Return a word of the command line as text, by the same rule as paths."""
    return readable(os.fsencode(word))


def per_cent(score: float) -> str:
    return f"{100 * score:.0f}%"


def similarities(item: Mapping[str, Any]) -> str:
    """Describe the similarities of the signals.

    >>> similarities({"dah": 0.953, "ddh": 1.0, "dfv": None})
    'average hash 95%, difference hash 100%, vector none'
    """
    named = zip(SIGNAL_WORDS, map(item.get, SIMILARITIES), strict=True)
    return ", ".join(f"{words} {'none' if value is None else per_cent(value)}" for words, value in named)

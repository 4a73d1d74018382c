"""Lines on standard output, errors on standard error; control characters in paths are escaped."""

from __future__ import annotations

import sys

from shazimd.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NOTHING_FOUND = 1


def say(line: str) -> None:
    """Print a line on standard output, with control characters and line breaks escaped."""
    print(printable(line))


def say_json(item: object) -> None:
    """Print an object as a line of ASCII JSON."""
    import json

    print(json.dumps(item))


def complain(message: str) -> None:
    print(printable(f"shazimctl: {message}"), file=sys.stderr)


def report_none(what: str) -> int:
    """Report an empty result on standard error, which keeps standard output empty; return the exit status."""
    complain(f"no {what}")
    return NOTHING_FOUND


def note_partial(known_images: int) -> None:
    """Say that an answer may lack images, on standard error, which keeps standard output and the exit status."""
    complain(f"the first scan is not finished: only the {known_images:,} images known so far were searched")


def path_text(item: Mapping[str, Any], key: str = "path") -> str:
    r"""Return a path of a reply as text; bytes that are not UTF-8 become \xff, which keeps different names distinct."""
    exact = item.get(f"{key}_b64")
    if exact is None:
        return str(item[key])
    from base64 import b64decode

    return b64decode(exact).decode("utf-8", "backslashreplace")


def word_text(word: str) -> str:
    """Return a word of the command line as text, by the same rule."""
    import os

    return os.fsencode(word).decode("utf-8", "backslashreplace")


def per_cent(score: float) -> str:
    return f"{100 * score:.0f}%"


def similarities(item: Mapping[str, Any]) -> str:
    """Return the similarities in the format of the original shazim."""
    return str({key: item[key] for key in ("dah", "ddh", "dfv")})


def size(count: float) -> str:
    """Format a number of bytes in decimal units.

    >>> size(999), size(5_250_000)
    ('999 B', '5.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Format a duration in its two largest units.

    >>> duration(59.9), duration(3725), duration(200_000)
    ('59 s', '1 h 2 min', '2 d 7 h')
    """
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])

"""Answers on standard output, trouble on standard error, in lines that no path can forge."""

from __future__ import annotations

import sys

from shazimd.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def say(line: str) -> None:
    """One line, and one only: what would move the cursor or start another is shown as an escape."""
    print(printable(line))


def say_json(item: object) -> None:
    """One object in ASCII on one line, at once: a reader at the other end of a pipe may be waiting for it."""
    import json

    print(json.dumps(item), flush=True)


def complain(message: str) -> None:
    print(printable(f"shazimctl: {message}"), file=sys.stderr)


def path_text(item: Mapping[str, Any], key: str = "path") -> str:
    r"""A path of a reply as text: bytes that are no UTF-8 as \xff, so that two names never look the same."""
    exact = item.get(f"{key}_b64")
    if exact is None:
        return str(item[key])
    from base64 import b64decode

    return b64decode(exact).decode("utf-8", "backslashreplace")


def word_text(word: str) -> str:
    """A word of the command line as text, by the same rule."""
    import os

    return os.fsencode(word).decode("utf-8", "backslashreplace")


def per_cent(score: float) -> str:
    return f"{100 * score:.0f}%"


def similarities(item: Mapping[str, Any]) -> str:
    """As the original printed them."""
    return str({key: item[key] for key in ("dah", "ddh", "dfv")})


def size(count: float) -> str:
    """Bytes in units of 1000, as disks are sold.

    >>> size(999), size(5_250_000)
    ('999 B', '5.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """The two largest units.

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

"""Paths are bytes inside and text at the edges.

A path need not be UTF-8. It is shown with replacement characters, and given exactly in base64 beside that.
"""

from __future__ import annotations


def path_fields(path: bytes, key: str = "path") -> dict[str, str]:
    """A path as JSON fields: ``key`` is readable, ``key_b64`` is exact and only there when the path is not UTF-8."""
    try:
        return {key: path.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {key: path.decode(errors="replace"), f"{key}_b64": b64encode(path).decode("ascii")}


def printable(text: str) -> str:
    """Text that can't move a terminal's cursor nor forge a line: control characters are written as escapes.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

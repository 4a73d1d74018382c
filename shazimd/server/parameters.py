"""Checks the query string: an error names the parameter, the value and the expectation.

An unknown name is an error, too: a misspelt threshold must not silently be the default.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from shazimd.errors import UsageError
from shazimd.server.verbs import Parameter


def parse(query: bytes, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The parsed value of each parameter, None if not given. Raises UsageError."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"):
        if name not in known:
            choice = "one of " + ", ".join(known) if known else "none"
            raise UsageError(f"{_shown(name)} is not a parameter here, expected {choice}")
        if name in values:
            raise UsageError(f"{name} is given twice, expected once")
        try:
            values[name] = known[name].parse(text)
        except ValueError as error:
            raise UsageError(f"{name} is {_shown(text)}, expected {error}") from error
    for name, parameter in known.items():
        if parameter.required and name not in values:
            raise UsageError(f"{name} is not given, expected it in the query string")
    return dict.fromkeys(known) | values


def _shown(text: str) -> str:
    short = text if len(text) <= 80 else text[:80] + "..."
    return '"' + short.encode("utf-8", "backslashreplace").decode() + '"'

"""The query string, checked: every fault names the parameter, what was found and what was expected.

A name that is not known is a fault too, so a slip of the pen never asks another question than was meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from shazimd.errors import UsageError
from shazimd.text import parse_threshold, parse_weights
from shazimd.types import Weights

Parser = Callable[[str], Any]


def parse(query: bytes, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """The value of each parameter by its parser, None where it is not given. Raises UsageError."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    values: dict[str, Any] = dict.fromkeys(parsers)
    seen: set[str] = set()
    for name, text in given:
        if name not in parsers:
            raise UsageError(f"{_shown(name)} is not a parameter here, expected {_choice(parsers)}")
        if name in seen:
            raise UsageError(f"{name} is given twice, expected once")
        seen.add(name)
        try:
            values[name] = parsers[name](text)
        except ValueError as error:
            raise UsageError(f"{name} is {_shown(text)}, expected {error}") from error
    return values


def threshold(text: str) -> float:
    return parse_threshold(text)


def weights(text: str) -> Weights:
    try:
        return parse_weights(text)
    except ValueError as error:
        raise ValueError("three numbers AH,DH,FV that are >= 0 and not all zero") from error


def whole(minimum: int) -> Parser:
    """A parser of whole numbers from ``minimum``, of at most 18 digits."""

    def parse_whole(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= minimum):
            raise ValueError(f"a whole number from {minimum}")
        return int(text)

    return parse_whole


def path(text: str) -> bytes:
    """An absolute path; percent-encoding carries any byte."""
    raw = os.fsencode(text)
    if not raw.startswith(b"/") or b"\0" in raw:
        raise ValueError("an absolute path")
    return os.path.normpath(raw)


def true(text: str) -> bool:
    if text != "true":
        raise ValueError("true")
    return True


def digest(text: str) -> bytes:
    """A BLAKE2b-256 digest, as ``b2sum -l 256`` prints it."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("64 hexadecimal digits, as b2sum -l 256 prints them")
    return bytes.fromhex(text)


def handle(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a model's URL or directory")
    return text


def _shown(text: str) -> str:
    short = text if len(text) <= 80 else text[:80] + "..."
    return '"' + short.encode("utf-8", "backslashreplace").decode() + '"'


def _choice(names: Mapping[str, Parser]) -> str:
    return "one of " + ", ".join(names) if names else "none"

"""The parameters of the query string: what each one may be, as a parser and as a schema, and the check of a request.

An error names the parameter, the value and the expectation. An unknown name is an error, too: a misspelt threshold must
not silently be the default. The client imports this module with the verbs, hence almost no imports.
"""

from __future__ import annotations

import os

from shazimd.errors import UsageError
from shazimd.text import (
    DIGEST_BYTES,
    ORIGINAL_WEIGHTS,
    SECONDS_MAX,
    SIGNALS,
    WEIGHTS_NAMES,
    parse_threshold,
    parse_weights,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Parser = Callable[[str], Any]

ASCII_TEXT = "^[ -~]+$"
"""A schema can't say "printable"; other printable characters are accepted, too."""
HEXADECIMAL = "[0-9a-fA-F]"
WHOLE_DIGITS = 18
PAGE_MAX, GROUPS_MAX = 1000, 500
"""Of an answer: alerts, decisions, changes or paths; groups."""


class ValueKind:
    """The values of a parameter. ``parse`` raises ValueError with the expectation alone; ``schema``, in /openapi.json,
    describes the same texts."""

    def __init__(self, parse: Parser, schema: dict[str, Any]) -> None:
        self.parse = parse
        self.schema = schema


class Parameter:
    """A parameter of the query string."""

    def __init__(
        self, name: str, kind: ValueKind, description: str, *, required: bool = False, default: Any = None
    ) -> None:
        """``default``: the value of a parameter that is not given."""
        self.name = name
        self.kind = kind
        self.description = description
        self.required = required
        self.default = default


def text(parse: Parser, pattern: str, **more: Any) -> ValueKind:
    """The texts that match a regular expression."""
    return ValueKind(parse, {"type": "string", "pattern": pattern, **more})


def whole(minimum: int, most: int | None = None) -> ValueKind:
    """The whole numbers from ``minimum``, of at most 18 digits; larger ones than ``most`` count as that."""

    def parse_whole(given: str) -> int:
        is_whole = given.isascii() and given.isdigit() and len(given) <= WHOLE_DIGITS
        if not (is_whole and int(given) >= minimum):
            raise ValueError(f"a whole number from {minimum}")
        return int(given) if most is None else min(int(given), most)

    return ValueKind(parse_whole, {"type": "integer", "minimum": minimum, "maximum": 10**WHOLE_DIGITS - 1})


def choice(*words: str) -> ValueKind:
    """One word among some."""

    def parse_choice(given: str) -> str:
        if given not in words:
            raise ValueError(" or ".join(words))
        return given

    return ValueKind(parse_choice, {"type": "string", "enum": list(words)})


def parse_digest(given: str) -> bytes:
    if len(given) != 2 * DIGEST_BYTES or not set(given) <= set("0123456789abcdefABCDEF"):
        raise ValueError(f"{2 * DIGEST_BYTES} hexadecimal digits, as b2sum -l 256 prints them")
    return bytes.fromhex(given)


def _weights(given: str) -> tuple[float, ...]:
    try:
        return parse_weights(given)
    except ValueError as error:
        raise ValueError(f"{len(SIGNALS)} numbers {WEIGHTS_NAMES} that are >= 0 and not all zero") from error


def _path(given: str) -> bytes:
    raw = os.fsencode(given)
    if not raw.startswith(b"/") or b"\0" in raw:
        raise ValueError("an absolute path")
    return os.path.normpath(raw)


def _true(given: str) -> bool:
    if given != "true":
        raise ValueError("true")
    return True


def _handle(given: str) -> str:
    if not given or not given.isprintable():
        raise ValueError("a model's URL, or the name of a model in the body")
    return given


def _seconds(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value < SECONDS_MAX:
        raise ValueError("seconds since 1970")
    return value


def _cursor(given: str) -> tuple[int, int]:
    saving, dot, centre = given.partition(".")
    if not (
        dot and saving.isascii() and saving.isdigit() and centre.isascii() and centre.isdigit() and len(given) < 40
    ):
        raise ValueError('the "after" of a page of groups')
    return -int(saving), int(centre)


_A_WEIGHT = "[0-9]{1,9}([.][0-9]{1,9})?"
_COMMAS = ",".join(str(number - 1) for number in sorted({ORIGINAL_WEIGHTS, len(SIGNALS)}))
"""As a pattern's number of repetitions."""

NUMBER, ORDINAL = whole(0), whole(1)
ABSOLUTE_PATH = text(_path, "^/[^\\u0000]*$")
DIGEST = text(parse_digest, f"^{HEXADECIMAL}{{{2 * DIGEST_BYTES}}}$")
TRUE = ValueKind(_true, {"type": "string", "enum": ["true"]})
_TIME = ValueKind(_seconds, {"type": "number", "minimum": 0, "exclusiveMaximum": SECONDS_MAX})

THRESHOLD = Parameter(
    "threshold",
    ValueKind(parse_threshold, {"type": "number", "minimum": 0, "maximum": 1}),
    "minimum score of a match that geometry does not confirm",
)
WEIGHTS = Parameter(
    "weights",
    text(_weights, f"^(?=.*[1-9]){_A_WEIGHT}(,{_A_WEIGHT}){{{_COMMAS}}}$", examples=["1,1,2"]),
    f"{WEIGHTS_NAMES}: weights of the signals",
)
LIMIT = Parameter("limit", ORDINAL, "maximum number of results")
PAGE_LIMIT = Parameter("limit", whole(1, PAGE_MAX), "maximum number of results", default=PAGE_MAX)
GROUPS_LIMIT = Parameter("limit", whole(1, GROUPS_MAX), "maximum number of groups", default=50)
SINCE = Parameter("since", NUMBER, "only alerts with a greater id", default=0)
MISSED = Parameter("since", NUMBER, "first the alerts that were stored with a greater id")
AFTER = Parameter("after", NUMBER, "only contents with a greater id", default=0)
PATH = Parameter("path", ABSOLUTE_PATH, "absolute, percent-encoded bytes")
REQUIRED_PATH = Parameter("path", ABSOLUTE_PATH, "absolute, percent-encoded bytes", required=True)
DEEP = Parameter("deep", TRUE, "read every file, though its stat is unchanged", default=False)
IGNORE = Parameter("ignore", TRUE, "keep the path out from now on", default=False)
DELETED = Parameter("deleted", TRUE, "forget all contents without files", default=False)
CONTENT = Parameter("content", DIGEST, "BLAKE2b-256 digest of the file's bytes")
HANDLE = Parameter(
    "handle",
    text(_handle, ASCII_TEXT),
    "the configured handle, or a URL; with a body the name for the model in it, see shazimd.toml(5)",
    required=True,
)
CURSOR = Parameter(
    "after", text(_cursor, "^[0-9]{1,19}[.][0-9]{1,19}$"), "the position that the page before ended with"
)
UNDER = Parameter("under", ABSOLUTE_PATH, "only groups with a file below this directory")
MODIFIED_SINCE = Parameter(
    "modified_since", _TIME, "only groups with a file modified then or later, in seconds since 1970"
)
MODIFIED_UNTIL = Parameter("modified_until", _TIME, "and that file modified before")
VERDICT = Parameter("verdict", choice("exact", "copy"), "only groups with such a file")
DECIDED = Parameter(
    "decided", TRUE, "the groups with a decision about the file to keep, instead of those without", default=False
)
GROUP_ID = Parameter("id", DIGEST, "only the group with this id, whatever else is given")
DECISION_ID = Parameter("id", ORDINAL, "id of a decision", required=True)
UNKNOWN = Parameter(
    "unknown", choice("accept"), "an import: contents need not be known, and the uid and time of a line count"
)
VECTORS = Parameter("vectors", TRUE, "with the feature vectors of the present model", default=False)


def parse(query: bytes, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The parsed value of each parameter, its default if not given. Raises UsageError."""
    from urllib.parse import parse_qsl  # 5 ms at the start of a client, which parses none

    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, given in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"):
        if name not in known:
            choice = "one of " + ", ".join(known) if known else "none"
            raise UsageError(f"{_shown(name)} is not a parameter here, expected {choice}")
        if name in values:
            raise UsageError(f"{name} is given twice, expected once")
        try:
            values[name] = known[name].kind.parse(given)
        except ValueError as error:
            raise UsageError(f"{name} is {_shown(given)}, expected {error}") from error
    for name, parameter in known.items():
        if parameter.required and name not in values:
            raise UsageError(f"{name} is not given, expected it in the query string")
    return {name: parameter.default for name, parameter in known.items()} | values


def _shown(text: str) -> str:
    short = text if len(text) <= 80 else text[:80] + "..."
    return '"' + short.encode("utf-8", "backslashreplace").decode() + '"'

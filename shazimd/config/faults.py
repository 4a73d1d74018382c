"""The text of a fault in a configuration, and of a type: "watch[0].settle_ms is "fast", expected a whole number".

msgspec offers no structured errors; tests/test_config.py pins its messages. A message of another form passes as is.
"""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from difflib import get_close_matches
from typing import Any

import msgspec

Table = type[msgspec.Struct]


def explain(message: str, raw: dict[str, Any], table: Table) -> str:
    """The key, the value found and the value expected, from msgspec's message about ``raw`` as a ``table``."""
    reason, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    steps = [int(position) if position else key for key, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", where)]
    try:
        found, kind = _value_at(raw, steps), _kind_at(table, steps)
    except (LookupError, TypeError):
        return message
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        key = f"{where}.{unknown[1]}".lstrip(".")
        return f"{key} is not a known key{_nearest(unknown[1], _plain(kind), table)}; see shazimd.toml(5)"
    shown = json.dumps(found, default=str)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return f"{where} is {shown}, expected the key {missing[1]} in it"
    if reason.startswith(("Expected `", "Invalid enum value")):
        return f"{where} is {shown}, expected {describe(kind)}"
    return f"{where} is {shown}, {reason[0].lower()}{reason[1:]}"


def describe(kind: Any) -> str:
    """A type in words, as in shazimd.toml(5).

    >>> describe(int), describe(tuple[str, ...]), describe(typing.Literal["a", "b"])
    ('a whole number', 'a list of strings', '"a" or "b"')
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _limited(*parts)
    if origin is tuple:
        return f"a list of {_several(parts[0])}"
    if origin is typing.Literal:
        return _choice(parts)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(part) for part in parts if part is not type(None))
    if issubclass(kind, enum.StrEnum):
        return _choice(list(kind))
    if _is_table(kind):
        return "a table"
    return {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}[kind]


def _several(kind: Any) -> str:
    if _is_table(kind):
        return "tables"
    return {str: "strings", float: "numbers"}.get(kind) or describe(kind)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _limited(kind: Any, meta: msgspec.Meta) -> str:
    if meta.description:
        return meta.description
    text = describe(kind)
    if meta.min_length is not None:
        text += f", at least {meta.min_length}"
    if meta.ge is not None and meta.le is not None:
        return f"{text} from {meta.ge} to {meta.le}"
    limits = [(" greater than", meta.gt), (" at least", meta.ge), (" at most", meta.le)]
    return text + ",".join(f"{words} {limit}" for words, limit in limits if limit is not None)


def _choice(values: typing.Sequence[str]) -> str:
    *first, last = (f'"{value}"' for value in values)
    return f"{', '.join(first)} or {last}"


def _value_at(raw: Any, steps: list[str | int]) -> Any:
    for step in steps:
        raw = raw[step]
    return raw


def _kind_at(kind: Any, steps: list[str | int]) -> Any:
    """The type of the value at a path in a table. Raises LookupError."""
    for step in steps:
        kind = _plain(kind)
        if isinstance(step, int):
            kind = typing.get_args(kind)[0]
        else:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[step]
    return kind


def _plain(kind: Any) -> Any:
    """A type without its limits, and without None."""
    if typing.get_origin(kind) is typing.Annotated:
        return _plain(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _plain(next(part for part in typing.get_args(kind) if part is not type(None)))
    return kind


def _nearest(key: str, table: Table, top: Table) -> str:
    """A hint at the key that may be meant: of other tables, or of this with a similar name."""
    found = []
    for field in msgspec.structs.fields(top):
        kind = _plain(field.type)
        several = typing.get_origin(kind) is tuple
        other = typing.get_args(kind)[0] if several else kind
        if other is not table and key in other.__struct_fields__:
            found.append(f"[[{field.name}]]" if several else f"[{field.name}]")
    if found:
        return f"; it is a key of {' and '.join(found)}"
    similar = get_close_matches(key, table.__struct_fields__, 1)
    return f"; did you mean {similar[0]}?" if similar else ""

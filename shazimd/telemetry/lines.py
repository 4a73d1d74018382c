"""A log event as a sentence, for the journal and for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shazimd.text import RELATIONS, path_bytes, printable, readable

_PATHS = frozenset({"path", "match", "bank", "root", "directory"})
"""Facts that are paths, also where they are UTF-8."""
_NOT_FACTS = ("event", "level", "timestamp", "exception")


def sentence(event: Mapping[str, Any]) -> str:
    """An event without its level and time. Control characters in it are escaped; a traceback keeps its lines.

    >>> sentence({"event": "root_watched", "root": "/srv/p", "mode": "inotify"})
    'root watched: root=/srv/p mode=inotify'
    """
    event = with_exact_names(event)
    if event["event"] == "near_duplicate" and event.get("verdict") in RELATIONS:
        text = _alert(event)
    else:
        facts = " ".join(f"{key}={_shown(value)}" for key, value in event.items() if key not in _NOT_FACTS)
        name = str(event["event"]).replace("_", " ")
        text = f"{name}: {facts}" if facts else name
    return "\n".join([printable(text), *traceback_lines(event)])


def traceback_lines(event: Mapping[str, Any]) -> list[str]:
    """The lines of an event's traceback, with control characters escaped; none without one."""
    return [printable(line) for line in str(event.get("exception", "")).splitlines()]


def with_exact_names(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event whose paths are ``text.readable``: those with exact bytes beside them, and those of known keys."""
    exact = {key for key in event if f"{key}_b64" in event} | (_PATHS & event.keys())
    paths = {key: readable(path_bytes(event, key)) for key in exact if isinstance(event[key], str)}
    return {key: paths.get(key, value) for key, value in event.items() if not key.endswith("_b64")}


def shown_json(text: str) -> str:
    """JSON with the characters escaped that ``text.printable`` escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _alert(event: Mapping[str, Any]) -> str:
    more = f", and {event['matches'] - 1} more" if event.get("matches", 1) > 1 else ""
    relation = f"{RELATIONS[event['verdict']]} {event['match']}"
    bank = f", bank {event['bank']}" if event.get("bank") else ""
    return f"{event['path']}: {relation} ({100 * event['score']:.0f}%{more}{bank})"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)

"""A log event as a sentence, for the journal and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shazimd.text import printable

RELATIONS = {
    "exact": "same picture as",
    "copy": "copy of",
    "variant": "variant of",
    "scene": "same scene as",
    "similar": "similar to",
}
"""The words between a new file and its match, by verdict."""

_NOT_FACTS = ("event", "level", "timestamp", "exception")


def sentence(event: Mapping[str, Any]) -> str:
    """An event without its level and time. Control characters in it are escaped, except in a traceback.

    >>> sentence({"event": "root_watched", "root": "/srv/p", "mode": "inotify"})
    'root watched: root=/srv/p mode=inotify'
    """
    if event["event"] == "near_duplicate" and event.get("verdict") in RELATIONS:
        text = _alert(event)
    else:
        facts = " ".join(f"{key}={_shown(value)}" for key, value in event.items() if key not in _NOT_FACTS)
        name = str(event["event"]).replace("_", " ")
        text = f"{name}: {facts}" if facts else name
    return "\n".join([printable(text), *([str(event["exception"])] if "exception" in event else [])])


def _alert(event: Mapping[str, Any]) -> str:
    more = f", and {event['matches'] - 1} more" if event.get("matches", 1) > 1 else ""
    relation = f"{RELATIONS[event['verdict']]} {event['match']}"
    bank = f", bank {event['bank']}" if event.get("bank") else ""
    return f"{event['path']}: {relation} ({100 * event['score']:.0f}%{more}{bank})"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)

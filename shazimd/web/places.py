"""Paths of messages: their exact bytes, and their text for a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from shazimd.acting.facts import shown
from shazimd.acting.journal import exact_path


def path_of(item: Mapping[str, Any], key: str = "path") -> bytes:
    """The exact bytes of a path in a message."""
    return exact_path(dict(item), key)


def host_of(path: bytes) -> str:
    """The other host on which a file lies; empty for this one."""
    return "" if path.startswith(b"/") else shown(path.partition(b":")[0])


def path_text(item: Mapping[str, Any], key: str = "path") -> str:
    return shown(path_of(item, key))


def name_text(item: Mapping[str, Any]) -> str:
    return os.path.basename(path_text(item))


def folder_text(item: Mapping[str, Any]) -> str:
    return os.path.dirname(path_text(item))

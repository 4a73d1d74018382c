"""Paths of messages in text for a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from shazimd.text import path_text, readable


def host_of(path: bytes) -> str:
    """The other host on which a file lies; empty for this one."""
    return "" if path.startswith(b"/") else readable(path.partition(b":")[0])


def name_text(item: Mapping[str, Any]) -> str:
    return os.path.basename(path_text(item))


def folder_text(item: Mapping[str, Any]) -> str:
    return os.path.dirname(path_text(item))

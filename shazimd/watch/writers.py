"""How long a file must stand still that was written to and not closed.

Decoders accept a part of some files as a whole picture: of an animated GIF, a TIFF with several pages, or a JPEG with a
film behind it. A slow sender pauses longer than a short quiet time, hence the time grows with the pauses seen.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

STILL_S = 2.0
"""Shortest time: longer than the pauses of a sender on a poor network mostly are."""
OPEN_STILL_S = 10.0
"""Shortest time for a file that a process is known to have open for writing: its close makes an event."""
STILL_MAX_S = 60.0
PAUSES = 4
"""The time is so many times the longest pause between two writes."""
FILES_MAX = 1000
"""Limit of the files remembered; the oldest are forgotten."""


class _Written(NamedTuple):
    at: float
    """time of the last write"""
    pause: float
    """the longest between two writes"""


class Writers:
    """For one thread at a time. Times are those of the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._written: OrderedDict[bytes, _Written] = OrderedDict()

    def wrote(self, path: bytes, now: float) -> None:
        """Note a write."""
        last = self._written.pop(path, _Written(now, 0.0))
        self._written[path] = _Written(now, max(last.pause, now - last.at))
        if len(self._written) > FILES_MAX:
            self._written.popitem(last=False)

    def closed(self, path: bytes) -> None:
        """Note that a file was closed, or is gone."""
        self._written.pop(path, None)

    def still_at(self, path: bytes, quiet_s: float, *, is_open: bool = False) -> float:
        """The time at which the file counts as complete, unless it is written again; 0 for an unknown file."""
        if path not in self._written:
            return 0.0
        at, pause = self._written[path]
        return at + max(quiet_s, OPEN_STILL_S if is_open else STILL_S, min(PAUSES * pause, STILL_MAX_S))

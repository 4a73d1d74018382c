"""The outcomes of an ingest, on which the run acts."""

from __future__ import annotations

from enum import Enum, auto


class Outcome(Enum):
    """The result of an ingest."""

    UNCHANGED = auto()
    """the store agrees with the disk"""
    STORED = auto()
    PUT_OFF = auto()
    """stored, and the decision on its alert waits for known files that are missing (see ``pending``)"""
    FAILED = auto()
    """the file cannot be read or decoded; the row has the reason"""
    OTHER_NAMES = auto()
    """stored or failed, and the file has other hard links: they changed too, but the kernel reports a single path"""
    REMOVED = auto()
    """the file was deleted, and now its row too"""
    POSTPONED = auto()
    """a worker was lost by no fault of the file: to be tried again after ``Retries.delay_s``"""
    UNSETTLED = auto()
    """the file or its row changed during the ingest, which is to be repeated later"""
    MISSING = auto()
    """a known file is missing without a deletion event: its disk may be away, and a scan must decide"""

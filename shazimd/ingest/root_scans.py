"""The scans of a root: requested, running, and at their end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal

import structlog

from shazimd.ingest.commit import Committer
from shazimd.ingest.deletion_guard import DeletionGuard
from shazimd.ingest.patience import RemoteCalls
from shazimd.ingest.scan import Depth, Scan
from shazimd.ingest.values import set_guard_state
from shazimd.protocol.status import ScanStatus
from shazimd.text import NAME_BYTES_MAX, readable
from shazimd.watch.filters import Filter
from shazimd.watch.listing import Entries, entries

log = structlog.get_logger()

WAITING_MAX = 10_000
"""Limit of queued requests; more of them become a scan of the root."""

REMEDY = "nothing was removed; mount the disk again, or confirm the removal with: shazimctl rescan PATH"


class RootScans:
    """Requested scans come first, the full scan between them."""

    def __init__(
        self,
        path: bytes,
        rules: Filter,
        guard: DeletionGuard,
        ignores: Callable[[bytes], bool],
        may_stall: Callable[[bytes], bool],
    ) -> None:
        """``ignores``: paths that are not on the disk to a scan. ``may_stall``: whether the file system of a path
        may hang."""
        self.path = path
        self.guard = guard
        self._rules = rules
        self._ignores = ignores
        self._may_stall = may_stall
        self._saved = guard.state
        """the guard's state in the store"""
        self.waiting: dict[bytes, Scan] = {}
        self.running: Scan | None = None
        self.whole: Scan | None = None
        self._whole_again: Scan | None = None
        self.closing: deque[Scan] = deque()
        """scans at the end of their directories, which may have gaps"""
        self._has_told_of_names = False
        self._remote = RemoteCalls()
        self._passed_over: int | None = None
        """as of the last full scan"""
        self.trouble: Literal["", "unavailable", "held"] = ""
        """"unavailable" or "held", by the last decision on missing files"""

    @property
    def is_stalled(self) -> bool:
        """Whether the file system owes an answer."""
        return self._remote.is_waiting

    def request(self, wanted: Scan) -> None:
        """Queue a scan, unless a queued one includes it."""
        if len(self.waiting) >= WAITING_MAX:
            self.waiting.clear()
            wanted = Scan(self.path, self.path, confirmed=wanted.confirmed, depth=wanted.depth)
        if wanted.is_full:
            self._request_whole(wanted.confirmed, wanted.depth)
        elif not self._covers(wanted):
            if (before := self.waiting.pop(wanted.top, None)) is not None:
                wanted.include(before)
            self.waiting[wanted.top] = wanted

    def next(self) -> Scan | None:
        """The scan to continue."""
        if self.running is None and self.waiting:
            self.running = self.waiting.pop(next(iter(self.waiting)))
        if self.whole is None:
            self.whole, self._whole_again = self._whole_again, None
        return self.running or self.whole

    def end(self, scan: Scan, now: float) -> None:
        """Note the end of a scan's directories."""
        if scan is self.running:
            self.running = None
        else:
            self.whole = None
            self._passed_over = scan.passed_over
        scan.compared_at = now
        self.closing.append(scan)

    def begun(self) -> list[Scan]:
        return [scan for scan in (self.running, self.whole, *self.closing) if scan]

    def scans(self) -> list[Scan]:
        return [*self.begun(), *([self._whole_again] if self._whole_again else []), *self.waiting.values()]

    def listed(self, directory: bytes) -> Entries:
        """The entries on the disk. Raises OSError, or Stalled if the file system does not answer."""
        look = partial(entries, directory, self._rules)
        found = self._remote.call(look) if self._may_stall(directory) else look()
        if (name := self._rules.too_long) and not self._has_told_of_names:
            log.warning("name_too_long", root=self.path, name=readable(name), bytes_max=NAME_BYTES_MAX)
            self._has_told_of_names = True
        below = os.path.join(directory, b"")
        return Entries(
            {name: stat for name, stat in found.files.items() if not self._ignores(below + name)},
            [name for name in found.directories if not self._ignores(below + name)],
            found.passed_over,
        )

    def save_guard(self, committer: Committer) -> None:
        """Store the state of the guard after a change."""
        state = self.guard.state
        if state != self._saved:
            committer.submit(lambda writer: set_guard_state(writer, self.path, state)).result()
            self._saved = state

    def unavailable(self, reason: str) -> None:
        if self.trouble != "unavailable":
            log.warning("root_unavailable", root=self.path, reason=reason, remedy=REMEDY)
        self.trouble = "unavailable"

    def held(self, scan: Scan, reason: str) -> None:
        if self.trouble != "held":
            missing, known = scan.missing, scan.known
            log.warning("removal_held", root=self.path, reason=reason, missing=missing, known=known, remedy=REMEDY)
        self.trouble = "held"

    def abandon(self, scan: Scan, reason: str) -> None:
        """The root cannot be read: its rows stay."""
        scan.abandoned = True
        scan.gaps.clear()
        self.unavailable(reason)

    def progress(self) -> ScanStatus:
        """As ``GET /v1/status`` reports it."""
        scans = self.scans()
        return {
            "state": self.trouble or ("scanning" if scans else "idle"),
            "directories_done": sum(scan.done for scan in scans),
            "directories_pending": sum(scan.pending for scan in scans),
            "known_files": self.guard.state.known,
            "passed_over": self._passed_over,
        }

    def _request_whole(self, confirmed: bool, depth: Depth) -> None:
        if self._whole_again is None:
            cursor = self.guard.state.cursor if self.whole is None else None
            self._whole_again = Scan(self.path, self.path, cursor=cursor)
        self._whole_again.confirmed |= confirmed
        self._whole_again.depth = max(self._whole_again.depth, depth)

    def _covers(self, wanted: Scan) -> bool:
        """Whether a queued scan includes this one."""
        path = wanted.top
        same = self.waiting.get(path)
        if same is not None and (same.recursive or not wanted.recursive) and same.is_as_thorough_as(wanted):
            return True
        while path != os.path.dirname(path):
            path = os.path.dirname(path)
            above = self.waiting.get(path)
            if above is not None and above.recursive and above.is_as_thorough_as(wanted):
                return True
        return False

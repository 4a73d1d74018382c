"""The start of the daemon: faults that may pass are waited for, others end it with an exit status by their kind.

A disk that is full or read-only, or a missing directory of the socket, is common while a machine boots. After a while
the wait ends too: a process that was started before a mount may never see it, and the service manager starts another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from shazimd.errors import ConfigError, NotReady, ShazimdError, StoreDamaged, StoreFull, UsageError
from shazimd.posix.notify import Notifier
from shazimd.posix.threads import beside

T = TypeVar("T")

log = structlog.get_logger()

RETRY_S = 2.0
WAIT_MAX_S = 120.0

ASK_EVERY_S = 10.0
ATTEMPT_MAX_S = 3600.0
"""A store of 10 million pictures that was not closed is looked through in a quarter of an hour. A hang must end."""

PASSING = (NotReady, StoreFull)
"""Faults that may pass without a change by a person."""

EXIT_STATUSES: dict[int, tuple[type[ShazimdError], ...]] = {
    2: (UsageError, ConfigError),
    6: (StoreDamaged,),
    75: PASSING,
}
"""2 and 6 wait for a person; 75 is EX_TEMPFAIL of sysexits.h."""
OTHER_FAULT = 5


class Stopped(Exception):
    """A signal ended the wait."""


def exit_status(error: ShazimdError) -> int:
    """The daemon's exit status for the fault that ended it."""
    return next((status for status, kinds in EXIT_STATUSES.items() if isinstance(error, kinds)), OTHER_FAULT)


class Patience:
    """Repeats what fails by a fault that may pass, and says so in the log and to the service manager."""

    def __init__(
        self,
        stopped: Callable[[float], bool],
        notifier: Notifier,
        refuse: Callable[[ShazimdError], None],
        wait_max_s: float = WAIT_MAX_S,
    ) -> None:
        """``stopped`` waits for a number of seconds and returns whether to stop; ``refuse`` answers waiting clients."""
        self._stopped = stopped
        self._notifier = notifier
        self._refuse = refuse
        self._end = time.monotonic() + wait_max_s
        self._reason = ""

    def until_done(self, attempt: Callable[[], T]) -> T:
        """The result of an attempt. Raises its error if that can't pass, or when the time is over; Stopped."""
        while True:
            try:
                with self._asking_for_time():
                    return attempt()
            except PASSING as error:
                if time.monotonic() >= self._end:
                    raise
                self._wait(error)

    @contextmanager
    def _asking_for_time(self) -> Iterator[None]:
        """Until the end of the block, tell the service manager now and then that the start takes longer."""

        def ask(ended: threading.Event) -> None:
            end = time.monotonic() + ATTEMPT_MAX_S
            while not ended.wait(ASK_EVERY_S) and time.monotonic() < end:
                self._notifier.starting("starting: reading the store", 3 * ASK_EVERY_S)

        with beside(ask, "start-time"):
            yield

    def _wait(self, error: ShazimdError) -> None:
        if str(error) != self._reason:
            self._reason = str(error)
            log.warning("start_waits", code=error.code, reason=self._reason, retry_s=RETRY_S)
        self._refuse(error)
        self._notifier.starting(f"waiting to start: {self._reason}", 2 * RETRY_S)
        if self._stopped(RETRY_S):
            raise Stopped

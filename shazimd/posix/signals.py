"""Signals that stop the process, noticed by a wait of the main thread.

Python runs handlers in the main thread. A wait for a lock or an event there can miss a signal that comes just before
the wait blocks, or that the system gives to another thread, and its handler then runs after the next signal. A
descriptor that the signal itself makes readable (``signal.set_wakeup_fd``) has no such moment.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time


class StopSignals:
    """Handles these signals for the rest of the process. To be made in the main thread, once."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._stopped = False
        self._numbers = frozenset(numbers)
        self._woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)  # only a signal with a handler is written to the descriptor

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for one of the signals, in any thread; whether any has come. None waits for ever."""
        poller = select.poll()
        poller.register(self._woken, select.POLLIN)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._stopped:
            left_ms = None if end is None else max(0.0, end - time.monotonic()) * 1000
            if not poller.poll(left_ms):
                break
            self._stopped = not self._numbers.isdisjoint(os.read(self._woken, 512))  # of any signal with a handler
        return self._stopped


def set_at(event: threading.Event, *numbers: signal.Signals) -> None:
    """Set an event when one of these signals comes. For the main thread of a process that waits for the event, once."""
    signals = StopSignals(*numbers)

    def wait() -> None:
        signals.wait(None)
        event.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()

"""Turns at computing: a single thread has the turn, of dozens; most wait.

The interpreter runs a single thread, and LMDB and the system make a thread give up the interpreter's lock at each call.
Threads in need of the lock pass the lock from processor to processor: half of the time of files with known bytes
(``benchmarks.known_bytes``). A thread without the turn sleeps instead.

A turn protects nothing but speed. A thread gives up the turn before each wait, and goes on without a turn after
``PATIENCE_S``: a disk in trouble holds up no other thread for longer.
"""

from __future__ import annotations

import threading
from typing import Self

PATIENCE_S = 0.25
"""A full batch of the commit takes some 50 ms."""


class ComputingTurn:
    """For one thread, which has it from ``take`` to ``release`` or to the exit from the context."""

    def __init__(self, computing: threading.Lock) -> None:
        """``computing``: the lock that all turns share."""
        self._computing = computing
        self._is_taken = False

    def take(self) -> None:
        """Wait for the turn, or for PATIENCE_S; at once if this thread has it."""
        if not self._is_taken:
            self._is_taken = self._computing.acquire(timeout=PATIENCE_S)

    def release(self) -> None:
        """Leave the turn to another thread; does nothing without the turn."""
        if self._is_taken:
            self._is_taken = False
            self._computing.release()

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

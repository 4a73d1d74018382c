"""A gate: many may be inside, or one alone.

LMDB's map may only be replaced while no transaction is open in this process. Transactions stand inside the gate; who
replaces the map asks to be alone. Someone who waits to be alone holds back newcomers, so he is not starved, but never
a thread that is inside already: it may nest.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shazimd.errors import StoreError


class Gate:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._claims = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside with others. May be left in another thread than it was entered in."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._claims or me in self._inside)
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    def holds(self) -> bool:
        """Whether this thread is inside."""
        with self._changed:
            return threading.get_ident() in self._inside

    def is_claimed(self) -> bool:
        """Whether someone is alone inside or waits to be."""
        return self._claims > 0

    @contextmanager
    def alone(self, timeout_s: float) -> Iterator[None]:
        """Be inside alone. Raises StoreError when the others don't leave in time: better than to hang with them."""
        with self._changed:
            self._claims += 1
            try:
                if not self._changed.wait_for(lambda: not self._inside, timeout_s):
                    raise StoreError(f"a read of the store was still open after {timeout_s:.0f} s, expected short ones")
                yield
            finally:
                self._claims -= 1
                self._changed.notify_all()

"""Calls to file systems that may hang, as a network mount does when its server is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 2.0
"""Longest wait for an answer: other roots wait meanwhile. A slow server answers within some 100 ms."""


class Stalled(Exception):
    """There was no answer in time; the call goes on in its thread."""


class RemoteCalls:
    """Makes one call at a time, each in a thread of its own, for one caller."""

    def __init__(self) -> None:
        self._call: Future[Any] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a call still hangs."""
        return self._call is not None and not self._call.done()

    def call(self, work: Callable[[], T]) -> T:
        """The result of ``work``, or its exception. Raises Stalled without a result in time.

        To be called again only when no call hangs."""
        result: Future[T] = Future()
        threading.Thread(target=_run, args=(work, result), name="remote", daemon=True).start()
        self._call = result
        try:
            return result.result(PATIENCE_S)
        except TimeoutError:
            if not result.done():
                raise Stalled(f"no answer for {PATIENCE_S:g} s") from None
            return result.result()  # an answer at the last moment, or a TimeoutError of the call itself


def _run(work: Callable[[], T], result: Future[T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)

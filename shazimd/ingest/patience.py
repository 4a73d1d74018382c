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

    def call(self, work: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """The result of ``work``, or its exception. Raises Stalled without a result in time; the time begins anew as
        long as ``progress`` grows.

        To be called again only when no call hangs."""
        result: Future[T] = Future()
        threading.Thread(target=_run, args=(work, result), name="remote", daemon=True).start()
        self._call = result
        seen = 0
        while True:
            try:
                return result.result(PATIENCE_S)
            except TimeoutError:
                if result.done():
                    return result.result()  # an answer at the last moment, or a TimeoutError of the call itself
                before, seen = seen, progress()
                if seen == before:
                    raise Stalled(f"no answer for {PATIENCE_S:g} s") from None


class RemoteRoots:
    """Reads files, also of roots whose file system may hang. Safe from any thread."""

    def __init__(self, stalling: Callable[[bytes], bytes | None]) -> None:
        """``stalling``: the directory around a path whose file system may hang, if any."""
        self._stalling = stalling
        self._lock = threading.Lock()
        self._hanging: dict[bytes, list[RemoteCalls]] = {}

    def read(self, path: bytes, work: Callable[[Callable[[object], object]], T]) -> T:
        """The result of ``work`` on a file, or its exception; ``work`` gives each piece read to the function that it
        gets. Raises Stalled without an answer, and at once while the root owes answers to earlier calls."""
        root = self._stalling(path)
        if root is None:
            return work(lambda _: None)
        with self._lock:
            hanging = [calls for calls in self._hanging.pop(root, ()) if calls.is_waiting]
            if hanging:
                self._hanging[root] = hanging
                raise Stalled("an earlier call has no answer yet")
        calls = RemoteCalls()
        pieces: list[None] = []
        try:
            return calls.call(lambda: work(lambda _: pieces.append(None)), lambda: len(pieces))
        except Stalled:
            with self._lock:
                self._hanging.setdefault(root, []).append(calls)
            raise


NO_REMOTE = RemoteRoots(lambda _: None)
"""For roots of which none may hang."""


def _run(work: Callable[[], T], result: Future[T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)

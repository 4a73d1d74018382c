"""Group commit: what many threads have to write at about the same time costs one disk flush.

While one batch is being written the next one gathers, so a lone write waits for nothing and a flood is batched by as
much as the disk is slow. Writes that nobody waits for linger a moment for others to come along.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import structlog

from shazimd.errors import StoreError, StoreFull
from shazimd.store.base import Store, Writer

log = structlog.get_logger()

T = TypeVar("T")

BATCH_MAX = 256
"""Bounds the time a reader of one's own write waits, at some 20 kB of fingerprint each."""
LINGER_S = 0.02
"""At 200 images a second four share a flush, which costs as much processor time as the rest of one's commit."""
RETRY_S = 5.0


class _Operation(NamedTuple):
    work: Callable[[Writer], Any]
    then: Callable[[Any], None] | None
    done: Future[Any]
    patient: bool


class Committer:
    """Writes operations in the order in which they were given, many at a time.

    A full or read-only disk holds operations back until it takes them again; queries go on meanwhile.
    """

    def __init__(self, store: Store, retry_s: float = RETRY_S) -> None:
        self._store = store
        self._retry_s = retry_s
        self._queue: deque[_Operation] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._impatient = 0
        self.fault: str | None = None
        """why nothing can be written at present"""
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Writer], Any], then: Callable[[Any], None] | None = None, *, patient: bool = False
    ) -> Future[Any]:
        """Queue an operation. The future is done once it is durable and ``then`` has seen its result.

        ``patient``: it may linger for up to LINGER_S, so that others share its flush. ``work`` may run more than once.
        ``then`` runs in the order of the operations, once, and again only after it raised StoreFull. Raises StoreError
        when closed; the future raises StoreFull when given up."""
        operation = _Operation(work, then, Future(), patient)
        with self._changed:
            if self._closing:
                raise StoreError("the store is being closed")
            self._queue.append(operation)
            self._changed.notify_all()
        return operation.done

    def wait_after(self, error: StoreFull) -> bool:
        """Say that nothing can be written, and wait for the next try; False when there is to be none."""
        self._say_once(str(error))
        with self._changed:
            return not self._changed.wait_for(lambda: self._closing or self._impatient, self._retry_s)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """While entered, what a full disk does not take is given up rather than held back: who stops must not wait for
        room. It is on no disk yet, and will be found again."""
        with self._changed:
            self._impatient += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._impatient -= 1

    def close(self) -> None:
        """Write what is queued, then stop. What a full disk does not take is given up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._write(batch)

    def _next_batch(self) -> list[_Operation]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(self._is_wanted, LINGER_S)
            return [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]

    def _is_wanted(self) -> bool:
        """Whether somebody waits for what is queued."""
        return self._closing or not all(operation.patient for operation in self._queue)

    def _write(self, batch: list[_Operation]) -> None:
        try:
            results = self._until_there_is_room(
                lambda: self._store.write(lambda writer: [operation.work(writer) for operation in batch])
            )
        except Exception as error:
            if isinstance(error, StoreFull) or len(batch) == 1:
                for operation in batch:
                    operation.done.set_exception(error)
            else:  # one that fails must not take the others with it
                for operation in batch:
                    self._write([operation])
            return
        for operation, result in zip(batch, results, strict=True):
            self._finish(operation, result)

    def _finish(self, operation: _Operation, result: Any) -> None:
        """What follows a write may need room too: the index has files of its own."""
        try:
            if then := operation.then:
                self._until_there_is_room(lambda: then(result))
        except Exception as error:
            operation.done.set_exception(error)
        else:
            operation.done.set_result(result)

    def _until_there_is_room(self, work: Callable[[], T]) -> T:
        while True:
            try:
                result = work()
            except StoreFull as error:
                if not self.wait_after(error):
                    raise
            else:
                if self.fault:
                    log.info("store_writable_again")
                    self.fault = None
                return result

    def _say_once(self, fault: str) -> None:
        if fault != self.fault:
            log.error("store_not_writable", reason=fault, retry_s=self._retry_s)
            self.fault = fault

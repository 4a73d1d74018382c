"""Group commit: writes from many threads share a transaction and a disk flush.

While a batch is written the next gathers: a single write does not wait, and under load batches grow as large as
the disk is slow. Writes without a waiting caller may linger for a moment, to share a flush with those of others that
are at work.

The Committer is the only writer of a running daemon, but for two rare acts, which drop vectors and wait for the lock of
the store: ``Store.compact`` those of other models, ``Library.use_model`` those of another width than its model's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from shazimd.errors import StoreError, StoreFull, Unavailable
from shazimd.ingest.turn import ComputingTurn
from shazimd.store.base import BulkWriter, Store
from shazimd.telemetry.log import lines_together
from shazimd.text import printable

log = structlog.get_logger()

T = TypeVar("T")

BATCH_MAX = 256
"""Limits the wait for a commit: a fingerprint takes some 20 kB."""
LINGER_S, LINGER_MAX = 0.5, 32
"""The longest wait for others, and the number that is enough. A picture costs .75 ms of processor time when it is
written and indexed alone, .25 ms among 16, and .18 ms among 32."""
RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Operation(Generic[T]):
    work: Callable[[BulkWriter], T]
    then: Callable[[T], object] | None
    together: Callable[[Sequence[T]], object] | None
    may_linger: bool
    done: Future[T] = field(default_factory=Future)


class Committer:
    """Writes operations in the order of their submission, many in a transaction.

    A full or read-only disk delays operations; queries continue meanwhile.
    """

    def __init__(self, store: Store, retry_s: float = RETRY_S) -> None:
        self._store = store
        self._retry_s = retry_s
        self._queue: deque[_Operation[Any]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._giving_up = 0
        self._coming = 0
        """entered contexts of ``coming``"""
        self._computing = threading.Lock()
        self.fault: str | None = None
        """the reason why the store is not writable at present, ``printable``"""
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[BulkWriter], T],
        then: Callable[[T], object] | None = None,
        *,
        together: Callable[[Sequence[T]], object] | None = None,
        may_linger: bool = False,
    ) -> Future[T]:
        """Queue an operation. The future is done after the durable write and after ``then`` got its result.

        ``may_linger``: wait for all that are ``coming``, up to LINGER_S, to share the flush. ``work`` may run more than
        once. ``then`` runs in the order of the operations, once, and again only if it raised StoreFull. ``together``
        runs before, with the results of all operations of the batch that have the same function, and again with each of
        them alone if it fails. Raises StoreError when closed; the future raises StoreFull when the operation is given
        up."""
        operation = _Operation(work, then, together, may_linger)
        with self._changed:
            if self._closing:
                raise StoreError("the store is being closed")
            self._queue.append(operation)
            if len(self._queue) == 1 or self._is_due():  # else the thread, the only one that waits, would wait on
                self._changed.notify_all()
        return operation.done

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While entered, operations that may linger wait for one of this thread."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                if self._queue and self._is_due():
                    self._changed.notify_all()

    def turn(self) -> ComputingTurn:
        """A turn at computing, not taken yet. This thread takes one for each batch, but not for the flush."""
        return ComputingTurn(self._computing)

    def expect_writable(self) -> None:
        """Raise Unavailable while the store is not writable: a client that tries again would fill the queue."""
        if fault := self.fault:
            raise Unavailable(f"the store is not writable at present: {fault}")

    @contextmanager
    def giving_up_when_full(self) -> Iterator[None]:
        """While entered, operations fail on a full disk rather than wait: a stop must not wait for free space. A scan
        finds their files again."""
        with self._changed:
            self._giving_up += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._giving_up -= 1

    def close(self) -> None:
        """Write the queue, then stop. Operations that a full disk refuses are given up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._write(batch)

    def _next_batch(self) -> list[_Operation[Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(self._is_due, LINGER_S)
            return [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]

    def _is_due(self) -> bool:
        is_long_enough = len(self._queue) >= min(self._coming, LINGER_MAX)
        return self._closing or is_long_enough or not all(operation.may_linger for operation in self._queue)

    def _write(self, batch: list[_Operation[Any]]) -> None:
        try:
            results = self._retry_when_full(lambda: self._store.write(lambda writer: self._work(batch, writer)))
        except Exception as error:
            if isinstance(error, StoreFull) or len(batch) == 1:
                for operation in batch:
                    operation.done.set_exception(error)
            else:  # a failing operation must not fail the others
                for operation in batch:
                    self._write([operation])
            return
        failed = self._run_together(batch, results)
        with lines_together():  # of the alerts; a caller that goes on finds them in the log
            finish = [
                failed.get(place) or self._followed(operation, result)
                for place, (operation, result) in enumerate(zip(batch, results, strict=True))
            ]
        for each in finish:
            each()

    def _work(self, batch: list[_Operation[Any]], writer: BulkWriter) -> list[Any]:
        with self.turn():
            return [operation.work(writer) for operation in batch]

    def _run_together(self, batch: list[_Operation[Any]], results: list[Any]) -> dict[int, Callable[[], None]]:
        """Call each ``together``. By place in the batch, functions that tell callers of failures."""
        places: dict[Callable[[Sequence[Any]], object], list[int]] = {}
        for place, operation in enumerate(batch):
            if operation.together is not None:
                places.setdefault(operation.together, []).append(place)
        failed: dict[int, Callable[[], None]] = {}
        for function, same in places.items():
            try:
                self._retry_when_full(partial(function, [results[place] for place in same]))
            except Exception:  # of one operation, which must not fail the others
                for place in same:
                    try:
                        self._retry_when_full(partial(function, [results[place]]))
                    except Exception as error:
                        failed[place] = partial(batch[place].done.set_exception, error)
        return failed

    def _followed(self, operation: _Operation[T], result: T) -> Callable[[], None]:
        """Call ``then``, which may find a full disk as well: the index has files of its own. A function that tells the
        caller."""
        try:
            if then := operation.then:
                self._retry_when_full(lambda: then(result))
        except Exception as error:
            return partial(operation.done.set_exception, error)
        return partial(operation.done.set_result, result)

    def _retry_when_full(self, work: Callable[[], T]) -> T:
        while True:
            try:
                result = work()
            except StoreFull as error:
                if not self._wait_for_space(printable(str(error))):
                    raise
            else:
                if self.fault:
                    self.fault = None
                    log.info("store_writable_again")
                return result

    def _wait_for_space(self, fault: str) -> bool:
        """Wait for the next try; False if there is to be none."""
        if fault != self.fault:
            self.fault = fault
            log.error("store_not_writable", reason=fault, retry_s=self._retry_s)
        with self._changed:
            return not self._changed.wait_for(lambda: self._closing or self._giving_up, self._retry_s)

"""What a worker sends is checked byte by byte: a forged reply costs the forger's own job, and nothing else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import forging
import pytest
import worker_jobs

from shazimd.errors import ModelError, NotAnImage, ShazimdError, WorkerFailed
from shazimd.workers import checks, keeper, messages
from shazimd.workers.keeper import Priority
from shazimd.workers.messages import MalformedReply
from shazimd.workers.pool import WorkerPool

HERE = os.path.dirname(__file__)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
            yield pool


GOOD = messages.pack_result(7)
SPELLINGS = {
    "empty": b"",
    "junk": b"\xc1" * 4,
    "surplus byte": GOOD + b"\0",
    "surplus field": b"\x83" + GOOD[1:] + b"\xa1x\x01",
    "result of a wider number": GOOD[:-1] + b"\xcd\0\x07",
    "deep": b"\x91" * (1 << 20),
    "deep result": GOOD[:-1] + b"\x91" * (1 << 20) + b"\x07",
    "another type": messages.pack_result("7"),
    "no UTF-8": b"\x83\xa4type\xa6failed\xa4code\xacnot_an_image\xa7message\xa3\xed\xa0\x80",
}


@pytest.mark.parametrize("message", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_reply_of_other_bytes_fails_its_job_alone(pool: WorkerPool, message: bytes) -> None:
    """The worker is ended at once, and the next job has a new one."""
    before = pool.submit(worker_jobs.process_id).result()
    forged = pool.submit(forging.reply_raw, message)
    behind = pool.submit(worker_jobs.process_id)
    assert isinstance(forged.exception(), MalformedReply)
    assert behind.result() != before


@pytest.mark.parametrize("job", [0, 1, 2**64 - 1])
def test_a_reply_to_another_job_is_refused(pool: WorkerPool, job: int) -> None:
    """A worker cannot answer a later job ahead of it."""
    with pytest.raises(MalformedReply, match="another job"):
        pool.submit(forging.reply_to, job).result()
    assert pool.submit(worker_jobs.add, 1, 2).result() == 3


@pytest.mark.parametrize("length", [2, 2**24 + 1, 2**63, 2**64 - 1])
def test_an_announced_length_is_not_believed(pool: WorkerPool, length: int) -> None:
    """Neither memory nor time is spent on a reply that does not come."""
    assert isinstance(pool.submit(forging.reply_of_length, length).exception(), WorkerFailed)
    assert pool.submit(worker_jobs.add, 1, 2).result() == 3


@pytest.mark.parametrize("surplus", [b"\0", b"\xc1" * 40, messages.pack_result(7)], ids=["byte", "junk", "reply"])
def test_bytes_behind_a_reply_never_become_the_next(pool: WorkerPool, surplus: bytes) -> None:
    """The worker is ended before it has another job, whether or not they came before its reply was read."""
    error = pool.submit(forging.reply_and, surplus).exception()
    assert error is None or isinstance(error, MalformedReply)
    assert [pool.submit(worker_jobs.add, n, 1).result() for n in range(3)] == [1, 2, 3]


def test_an_innocent_job_is_done_again_elsewhere(pool: WorkerPool) -> None:
    """Bytes that a former job left to be sent later spoil the reply of the next, which a fresh worker does again."""
    taken_over = pool.submit(forging.surplus_later).result()
    assert pool.submit(forging.add_behind_surplus, 1, 2).result() == 3
    assert pool.submit(worker_jobs.process_id).result() != taken_over


def test_results_of_a_scan_are_told_together(pool: WorkerPool) -> None:
    """Once few other jobs wait. From a malformed one on they are made again by another worker, which that one did not
    take over; a failure is told at once."""

    def scanned(function: Callable[..., int], *arguments: object) -> Future[int]:
        return pool._submit(Priority.SCAN, function, arguments)

    were_told: list[bool] = []
    with pool._jobs._changed:  # the worker has none before all wait
        first = scanned(worker_jobs.process_id)
        failure = scanned(worker_jobs.refuse, "no picture")
        failure.add_done_callback(lambda _: were_told.append(first.done()))
        malformed = scanned(worker_jobs.lies)
        behind = [scanned(worker_jobs.process_id) for _ in range(10)]
    assert isinstance(failure.exception(), NotAnImage)
    assert isinstance(malformed.exception(), MalformedReply)
    assert len({each.result() for each in behind}) == 1
    assert behind[0].result() != first.result()
    assert were_told == [False]


def test_a_fault_of_a_check_fails_the_job_alone(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where results are told together; the next job is done."""

    def fail(found: object, asked: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setitem(checks.CHECKS, worker_jobs.process_id, fail)
    scanned = pool._submit(Priority.SCAN, worker_jobs.process_id, ())
    behind = pool._submit(Priority.SCAN, worker_jobs.add, (1, 2))
    assert isinstance(scanned.exception(), KeyError)
    assert behind.result() == 3


def test_a_worker_names_three_errors_only(pool: WorkerPool) -> None:
    """The daemon would stop at some of the others; the text is short and cannot move a cursor."""
    for job in (forging.config_error, forging.store_damaged):
        error = pool.submit(job).exception()
        assert type(error) is WorkerFailed
    error = pool.submit(forging.config_error).exception()
    assert isinstance(error, ShazimdError)
    assert error.message.startswith("the worker reports bad_config: forged\\n\\x1b[2J\\u202exxx")
    assert len(error.message) < 600
    sent = messages.pack_failure(ModelError("m" * 600))
    with pytest.raises(ModelError, match=r"^m{500}$"):
        messages.unpack_reply(sent, worker_jobs.process_id)


def test_a_worker_is_renewed_after_many_jobs(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left in its memory is gone then; no job fails by it."""
    monkeypatch.setattr(keeper, "JOBS_A_WORKER", 3)
    pool.submit(worker_jobs.blunder).exception()  # a fresh worker follows
    processes = [pool.submit(worker_jobs.process_id).result() for _ in range(7)]
    assert [processes.count(each) for each in dict.fromkeys(processes)] == [3, 3, 1]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The daemon's end of a connection, which does not block, and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3 << 20])
def test_a_message_of_any_length_arrives_whole(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    """Also one that fills the connection, or comes in pieces; there and back."""
    ours, theirs = ends

    def echo() -> None:
        if frame := messages.receive_with_descriptors(theirs, 1):
            messages.send(theirs, frame.job, bytes(frame.message))

    worker = threading.Thread(target=echo)
    worker.start()
    sent, end = os.urandom(size), time.monotonic() + 60
    messages.send(ours, 5, sent, end)
    assert messages.Frame(5, bytearray(sent)) == messages.receive(ours, deadline=end)
    worker.join()


def test_a_deadline_holds_for_a_worker_that_neither_reads_nor_replies(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """A tenth of a second is enough here, and no call waits for ever."""
    with pytest.raises(TimeoutError):
        messages.receive(ends[0], deadline=time.monotonic() + 0.1)
    with pytest.raises(TimeoutError):
        messages.send(ends[0], 5, bytes(8 << 20), time.monotonic() + 0.1)


def test_a_deadline_may_be_months_away(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poll takes 24 days at most, and is called again until the reply comes or the time is up."""
    monkeypatch.setattr(messages, "POLL_MAX_S", 0.01)
    later = threading.Timer(0.1, lambda: messages.send(ends[1], 5, b"reply"))
    later.start()
    assert messages.Frame(5, bytearray(b"reply")) == messages.receive(ends[0], deadline=time.monotonic() + 60)
    later.join()
    monkeypatch.undo()
    messages.send(ends[1], 5, b"reply")
    assert messages.Frame(5, bytearray(b"reply")) == messages.receive(ends[0], deadline=time.monotonic() + 2_592_000)

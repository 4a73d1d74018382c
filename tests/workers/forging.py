"""Jobs of a worker that a picture has taken over: they write to its socket what they like."""

from __future__ import annotations

import os
import struct
import sys
import threading
import time

from worker_jobs import stop_answering

from shazimd.errors import ConfigError, StoreDamaged
from shazimd.workers import messages

HEADER = struct.Struct(">QQ")


def present_job() -> int:
    """The number of the job that runs, from the frames above."""
    frame = sys._getframe()
    while frame.f_code.co_name != "_serve_one":
        assert frame.f_back is not None
        frame = frame.f_back
    job: int = frame.f_locals["request"].job
    return job


def write(data: bytes) -> None:
    os.write(int(sys.argv[1]), data)


def send(message: bytes, job: int | None = None, length: int | None = None) -> None:
    number = present_job() if job is None else job
    write(HEADER.pack(number, len(message) if length is None else length) + message)


def reply_raw(message: bytes) -> int:
    """Reply with these bytes."""
    send(message)
    return stop_answering()


def reply_to(job: int) -> int:
    """Reply to another job."""
    send(messages.pack_result(7), job)
    return stop_answering()


def reply_of_length(length: int) -> int:
    """Announce a reply, and die."""
    send(b"x", length=length)
    os._exit(0)


def reply_and(surplus: bytes) -> int:
    """The number of this worker, followed by other bytes."""
    job = present_job()
    message = messages.pack_result(os.getpid())
    write(HEADER.pack(job, len(message)) + message + surplus)
    return stop_answering()


_followers: list[threading.Thread] = []


def surplus_later() -> int:
    """The number of this worker; bytes follow once the next job has begun, and the worker lives on."""
    number = present_job()

    def follow() -> None:
        while _job_of(threading.main_thread().ident) in (None, number):
            time.sleep(0.001)  # until the condition above
        write(b"\xc1" * 40)

    _followers.append(threading.Thread(target=follow, daemon=True))
    _followers[0].start()
    return os.getpid()


def _job_of(thread: int | None) -> int | None:
    frame = sys._current_frames().get(thread or 0)
    while frame is not None:
        if frame.f_code.co_name == "_serve_one":
            request = frame.f_locals.get("request")
            return None if request is None else int(request.job)
        frame = frame.f_back
    return None


def add_behind_surplus(a: int, b: int) -> int:
    """The sum, once the bytes of ``surplus_later`` were written, if that took this worker over."""
    for follower in _followers:
        follower.join()
    return a + b


def config_error() -> int:
    raise ConfigError("forged\n\x1b[2J\u202e" + "x" * 9000)


def store_damaged() -> int:
    raise StoreDamaged("forged")

"""One worker process: gives up what rights it can, then answers jobs until the other end of its socket closes.

Started by ``workers`` as ``python -m shazimd.workers.main SOCKET_FD MEMORY_MB PARENT_PID``.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import select
import signal
import socket
import sys
import traceback

from shazimd.errors import ShazimdError, WorkerFailed
from shazimd.posix import memory, process
from shazimd.workers import channel

_OPEN_FILES_MAX = 64
_OOM_SCORE = 500

_IDLE_MS = 20


def main() -> None:
    fd, memory_mb, parent = (int(argument) for argument in sys.argv[1:])
    _give_up_rights(memory_mb, parent)
    memory.keep_freed_memory()
    with socket.socket(fileno=fd) as connection:
        _warm_up()
        _silence_decoders()
        next_job = select.poll()
        next_job.register(connection, select.POLLIN)
        channel.send(connection, b"ready")
        while _serve_one(connection, memory_mb):
            if not next_job.poll(_IDLE_MS):
                memory.trim()


def _serve_one(connection: socket.socket, memory_mb: int) -> bool:
    """Do one job; False when there will be no more. What a job held is let go before the next is waited for."""
    job = channel.receive(connection)
    if job is None:
        return False
    channel.send(connection, _answer(job, memory_mb))
    return True


def _answer(job: bytearray, memory_mb: int) -> bytes:
    from shazimd.workers import replies

    try:
        function, arguments = pickle.loads(job)  # noqa: S301 - the pool sent it; answers go the other way unpickled
        return replies.pack_result(function(*arguments))
    except ShazimdError as error:
        return replies.pack_failure(error)
    except MemoryError:
        gc.collect()
        return replies.pack_failure(WorkerFailed(f"the job ran out of memory: a worker has {memory_mb} MiB"))
    except Exception as error:
        # A mistake of ours, or of a library beyond what decode() turns into NotAnImage.
        failure = WorkerFailed(f"the job failed: {type(error).__name__}: {error}")
        return replies.pack_failure(failure, traceback.format_exc())


def _give_up_rights(memory_mb: int, parent: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # a stop is the parent's to order: it finishes the jobs in hand
    process.refuse_new_privileges()
    process.end_with_parent()
    if os.getppid() != parent:
        raise SystemExit("the pool is gone")
    process.prefer_for_oom_kill(_OOM_SCORE)
    process.limit(
        {
            resource.RLIMIT_DATA: memory_mb << 20,  # allocations; RLIMIT_AS would count mapped libraries too
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NOFILE: _OPEN_FILES_MAX,
        }
    )


def _warm_up() -> None:
    """Import what jobs need, under the limits, so that the first job is as quick as any."""
    import cv2

    import shazimd.imaging.extract  # noqa: F401 - for its effect: the import is what takes time

    cv2.setNumThreads(1)


def _silence_decoders() -> None:
    """C libraries write of every broken file to stderr; what matters comes back as the job's error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


if __name__ == "__main__":
    main()

"""A worker process: limits itself, loads libraries and models, is confined, then runs jobs until the pool closes the
socket.

Started by ``workers.process`` as ``python -m shazimd.workers.worker_main SOCKET_FD MEMORY_MB TIMEOUT_MS PARENT_PID``.
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
from shazimd.imaging import effort
from shazimd.models.model import ModelInfo
from shazimd.posix import memory, process
from shazimd.workers import messages
from shazimd.workers.confinement import confine
from shazimd.workers.loading import load_libraries, opened

_OPEN_FILES_MAX = 64
_OOM_SCORE = 500  # the kernel kills a worker before the daemon
_IDLE_MS = 20
"""Between the pictures of a scan pauses are shorter: only then does freed memory go back, some 17 MiB. After two
seconds a question would take 3 ms less, and two workers at work some 40 MiB more."""
_REST_MS = 2000  # then the code of the last jobs goes, too: some 25 MiB, which take a millisecond to come back
_CODE_S = 5.0  # at work it goes so often: other kinds of jobs leave some 4 MiB behind


def main() -> None:
    fd, memory_mb, timeout_ms, parent = (int(argument) for argument in sys.argv[1:])
    _drop_privileges(memory_mb, parent)
    memory.keep_freed_memory()
    with socket.socket(fileno=fd) as connection:
        libraries, missing_layers = _prepare(connection, memory_mb, timeout_ms / 1000)
        messages.send(connection, messages.START, messages.pack_result(missing_layers))
        next_job = select.poll()
        next_job.register(connection, select.POLLIN)
        while _serve_one(connection):
            is_idle = not next_job.poll(_IDLE_MS)
            if is_idle:
                memory.trim()
            if is_idle and not next_job.poll(_REST_MS):
                libraries.release()
            else:
                libraries.release_at_work()


def _prepare(connection: socket.socket, memory_mb: int, timeout_s: float) -> tuple[memory.LibraryCode, list[str]]:
    """Load everything and give up the rest; see ``confine``. A failure is told to the pool and ends the process."""
    gc.disable()  # collections while libraries load are a twentieth of the start
    try:
        libraries = _warm_up(_models(connection))
        os.environ.clear()
        gc.freeze()  # what is loaded stays: a collection looks at the last job alone
        gc.enable()
        effort.limit(timeout_s, memory_mb << 20)
        return libraries, confine()
    except Exception as error:
        failure = WorkerFailed(f"the start failed: {type(error).__name__}: {error}")
        messages.send(connection, messages.START, messages.pack_failure(failure, traceback.format_exc()))
        raise SystemExit(1) from error


def _serve_one(connection: socket.socket) -> bool:
    """Run one job; False at the end. A separate function, to free the job before the next wait."""
    request = messages.receive_with_descriptors(connection, messages.PICTURES_MAX)
    if request is None:
        return False
    answer, has_failed = _answer(request)
    messages.send(connection, request.job, answer)
    if has_failed:
        gc.collect()  # tracebacks refer to each other and to the picture, which the next job may have no memory for
    return True


def _answer(request: messages.Frame) -> tuple[bytes, bool]:
    """The reply, and whether it is a failure."""
    try:
        effort.begin_job(messages.length_of(request.descriptors))
        function, arguments = messages.unpack_job(request.message, request.descriptors)
        return messages.pack_result(function(*arguments)), False
    except ShazimdError as error:
        return messages.pack_failure(error), True
    except MemoryError:
        gc.collect()
        allowed = effort.memory_allowed() >> 20
        reason = f"the job ran out of memory: by the size of its picture it may have {allowed} MiB"
        return messages.pack_failure(WorkerFailed(reason)), True
    except Exception as error:
        # A bug here, or an exception of a library that decode() does not turn into NotAnImage.
        failure = WorkerFailed(f"the job failed: {type(error).__name__}: {error}")
        return messages.pack_failure(failure, traceback.format_exc()), True
    finally:
        effort.end_job()


def _drop_privileges(memory_mb: int, parent: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            ignored, signal.SIG_IGN
        )  # Ctrl-C and a hang-up reach the whole group, but the daemon finishes its jobs
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


def _models(connection: socket.socket) -> list[ModelInfo]:
    """The models that jobs will name, which the pool sends first."""
    frame = messages.receive(connection)
    if frame is None:
        raise SystemExit("the pool is gone")
    models: list[ModelInfo] = pickle.loads(frame.message)  # noqa: S301 - it comes from the daemon
    return models


def _warm_up(models: list[ModelInfo]) -> memory.LibraryCode:
    """Load all that jobs use, under the limits: a confined worker can open no file. The code of the libraries."""
    import cv2

    load_libraries()
    _silence_libraries()
    for model in models:
        opened(model)
    cv2.setNumThreads(1)
    libraries = memory.LibraryCode(_CODE_S)
    libraries.release()  # of a worker's 100 MiB 30 only loaded the libraries and opened the models
    return libraries


def _silence_libraries() -> None:
    """Redirect stderr to /dev/null: C libraries report each broken file there, as errors do, and each model."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


if __name__ == "__main__":
    main()

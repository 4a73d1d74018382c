"""Jobs for workers to do in tests: workers import them from here."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from typing import Any, cast

from shazimd.errors import NotAnImage


def add(a: int, b: int) -> int:
    return a + b


def process_id() -> int:
    return os.getpid()


def lies() -> int:
    answer: Any = "not a number"
    return cast(int, answer)


def refuse(message: str) -> int:
    raise NotAnImage(message)


def blunder() -> int:
    raise KeyError("a mistake of ours")


def crash() -> int:
    ctypes.string_at(0)
    return 0


def leave(status: int) -> int:
    os._exit(status)


def stop_answering() -> int:
    while True:
        time.sleep(1)


def allocate(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


def limits() -> dict[str, int]:
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return {
        "data": resource.getrlimit(resource.RLIMIT_DATA)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "written": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "no_new_privileges": int(fields["NoNewPrivs"]),
        "threads": int(fields["Threads"]),
    }


def write_to(path: str) -> int:
    with open(path, "w") as file:
        return file.write("x" * 10)


def loaded(names: list[str]) -> list[str]:
    import sys

    return [name for name in names if name in sys.modules]


def interrupt_self() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return 1


def killed() -> int:
    """As the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def killed_at_first(mark: str) -> int:
    """Killed unless the mark is there, which a directory is: a worker may write no file."""
    if not os.path.isdir(mark):
        os.mkdir(mark)
        killed()
    return 1

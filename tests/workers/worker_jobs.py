"""Jobs for workers to do in tests: workers import them from here."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from typing import Any, cast

from shazimd.errors import NotAnImage
from shazimd.imaging import effort


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
    threading.Event().wait()
    raise AssertionError


def allocate(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


def allocate_for_picture(mebibytes: int, pixels: int) -> int:
    effort.begin_picture(0)
    effort.has_pixels(pixels)
    return allocate(mebibytes)


def use_up_time() -> int:
    """As a decoder does that a picture gives too much work; not for as long."""
    signal.setitimer(signal.ITIMER_PROF, 0.01)
    while True:
        pass


def environment() -> list[str]:
    return sorted(os.environ)


def threads(count: int) -> int:
    """How many threads ran at a time."""
    together = threading.Barrier(count)
    ran = [threading.Thread(target=together.wait) for _ in range(count - 1)]
    for thread in ran:
        thread.start()
    together.wait()
    for thread in ran:
        thread.join()
    return count


def loaded(names: list[str]) -> list[str]:
    import sys

    return [name for name in names if name in sys.modules]


def interrupt_self() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)
    return 1


def killed() -> int:
    """As the kernel does when memory runs out."""
    signal.raise_signal(signal.SIGKILL)
    return 0


def stop_answering_in(worker: int) -> int:
    """Hangs in the worker with this process number, not in another."""
    return stop_answering() if worker == os.getpid() else 1


def busy(seconds: float) -> int:
    """The number of the process, after some time."""
    time.sleep(seconds)
    return os.getpid()

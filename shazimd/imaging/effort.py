"""The processor time and memory that a picture may cost a worker, by its bytes and pixels.

``bounds`` refuses structures that are known to ask for too much; a list of those is never complete. So the kernel ends
a worker that has used more time than its picture is worth, and gives it no more memory. Time is the processor's: a busy
machine fails no file. Only the largest pictures may have all that the settings allow.

The limits are those of the process, and so is this module's state. Without ``limit``, as in a program that decodes in
its own process, nothing is limited.
"""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass

SHARE_MIN = 0.1
"""Of the time limit, for each job: 6 s of the usual 60, of which a small picture takes 0.1."""
PIXELS_FULL, PIXELS_FULL_JPEG = 12_000_000, 200_000_000
"""Pixels that are worth the whole time limit, and those of a JPEG: 5 and 0.3 microseconds a pixel of the usual 60 s.
The slowest formats, QOI and DDS, take 1, JPEG 2000 0.3, a progressive JPEG 0.03; see benchmarks/README.md."""
BYTES_FULL = 50_000_000
MEMORY_MIN = 256 << 20
"""Bytes besides those of a worker at its start: a small picture takes 50 MB."""
MEMORY_A_PIXEL = 128
"""Bytes: formats of deep samples take up to 70, the usual ones 10."""
MEMORY_A_BYTE = 3


@dataclass(slots=True)
class _Limits:
    timeout_s: float
    memory_max: int
    memory_at_start: int
    seconds: float = 0.0
    """for this job so far"""
    memory: int = 0
    pixels: int = 0
    """of this picture, for which it was allowed more"""

    def allow(self, share: float, memory: int) -> None:
        """Allow the job more: a share of the time limit, and bytes."""
        more = min(share * self.timeout_s, self.timeout_s - self.seconds)
        self.seconds += more
        self.memory += memory
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        signal.setitimer(signal.ITIMER_PROF, left + more)
        soft = min(self.memory_at_start + self.memory, self.memory_max)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, self.memory_max))


_limits: _Limits | None = None


def limit(timeout_s: float, memory_bytes: int) -> None:
    """Limit the jobs of this process from now on, to these at most. RLIMIT_DATA is ``memory_bytes``."""
    global _limits
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
    with open("/proc/self/statm", "rb") as file:
        data = int(file.read().split()[5]) * resource.getpagesize()
    _limits = _Limits(timeout_s, memory_bytes, data)


def begin_job(length: int) -> None:
    """Allow what each job may have, and memory for ``length`` bytes of its pictures."""
    if _limits:
        _limits.seconds, _limits.memory = 0.0, 0
        _limits.allow(SHARE_MIN, MEMORY_MIN + length)


def end_job() -> None:
    """Stop the clock until the next job."""
    if _limits:
        signal.setitimer(signal.ITIMER_PROF, 0)


def begin_picture(length: int) -> None:
    """Allow what a file of so many bytes may cost."""
    if _limits:
        _limits.pixels = 0
        _limits.allow(length / BYTES_FULL, MEMORY_A_BYTE * length)


def has_pixels(count: int, format_: str | None = None) -> None:
    """Allow what the picture may cost, once its header tells its size. A second time it counts only if larger.

    ``format_``: Pillow's name, if it is known."""
    if _limits and count > _limits.pixels:
        more, _limits.pixels = count - _limits.pixels, count
        full = PIXELS_FULL_JPEG if format_ == "JPEG" else PIXELS_FULL
        _limits.allow(more / full, MEMORY_A_PIXEL * more)


def memory_allowed() -> int:
    """Bytes that the job may have, those at the start included."""
    return resource.getrlimit(resource.RLIMIT_DATA)[0]

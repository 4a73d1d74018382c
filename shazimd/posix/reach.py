"""Paths longer than the system takes in a call, reached by descriptors of the directories on their way.

Linux refuses a path of 4,096 bytes or more (PATH_MAX), though trees may be deeper: mkdir, cp and rsync make such by
relative paths.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATH_MAX = 4096
"""Bytes of a path with its final NUL, limits.h."""

_ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def within_reach(path: bytes) -> Iterator[bytes]:
    """A path for calls of the system, usable while entered: ``path`` itself, or a short one to the same file.

    A long one must be absolute. Raises OSError when a directory on the way can't be opened."""
    if len(path) < PATH_MAX:
        yield path
        return
    *directories, name = path.strip(b"/").split(b"/")
    descriptor = os.open(b"/", _ON_THE_WAY)
    try:
        for part in _parts(directories):
            further = os.open(part, _ON_THE_WAY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = further
        yield b"/proc/self/fd/%d/%s" % (descriptor, name)
    finally:
        os.close(descriptor)


def _parts(directories: list[bytes]) -> Iterator[bytes]:
    """The directories joined to relative paths, each as long as the system takes."""
    part = b""
    for name in directories:
        joined = os.path.join(part, name)
        if len(joined) >= PATH_MAX:
            yield part
            joined = name
        part = joined
    if part:
        yield part

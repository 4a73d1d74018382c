"""The standard streams of a process that was started without one, as by ``2>&-`` in a shell."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Open /dev/null for each standard stream that is closed. Python has None for it, which fails where it is used, and
    ``print(file=None)`` is standard output. The next file opened would take its number, and a library's messages.

    Call it before other files are opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the stream's own
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, errors="backslashreplace"))

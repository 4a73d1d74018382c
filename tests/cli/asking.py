"""`shazimctl` as a process, on a terminal or not, and answers for it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from patience import PATIENCE_S

from shazimd.protocol import PairLine
from shazimd.protocol.groups import DuplicateGroup


def group(number: int) -> DuplicateGroup:
    return {
        "saves_bytes": 2_100_000,
        "members": [
            {"path": f"/srv/{number}a", "width": 64, "height": 48, "size_bytes": 3000, "score": None, "verdict": None},
            {"path": f"/srv/{number}b", "width": 32, "height": 24, "size_bytes": 999, "score": 0.9, "verdict": "copy"},
        ],
    }


PAIRS: list[PairLine] = [
    {"after": 0},
    {"after": 1, "path": "/srv/b", "match": "/srv/a", "score": 0.836, "dah": 0.9, "ddh": 0.8, "dfv": 0.8},
    {"after": 2, "path": "/srv/c", "match": "/srv/a", "score": 0.8, "dah": 0.9, "ddh": 0.8, "dfv": 0.7},
    {"after": 3},
]


class Spoken:
    """What a command said and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def shazimctl(*words: str | bytes, **more: Any) -> subprocess.Popen[str]:
    program = "from shazimd.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell makes its background processes ignore SIGINT; unbuffered output would hide a missing flush.
    env = ["env", "--default-signal=INT", "--unset=PYTHONUNBUFFERED"]
    return subprocess.Popen([*env, sys.executable, "-c", program, *words], text=True, **{**pipes, **more})


def on_terminal(columns: int, *words: str) -> list[str]:
    """The lines of a command on a terminal of this width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with shazimctl(*words, stdout=its) as process:
        os.close(its)
        shown = b"".join(_until_closed(ours))
        process.wait(PATIENCE_S)
    os.close(ours)
    return shown.decode().splitlines()


def _until_closed(terminal: int) -> Iterator[bytes]:
    """The pieces that a terminal shows, until no process has it open."""
    with suppress(OSError):  # EIO, after all was read
        while piece := os.read(terminal, 65536):
            yield piece

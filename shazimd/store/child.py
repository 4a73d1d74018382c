"""Work on a store in a process of its own: damage that LMDB or the disk answers by a signal ends that process alone.

    python -m shazimd.store.child VERB ARGUMENT...

prints JSON objects, a line each: its progress, and at the end the sentences found, or the error.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from shazimd import errors
from shazimd.errors import StoreDamaged, StoreError
from shazimd.posix.process import end_with_parent
from shazimd.store.report import INTERVAL_S, Report, unreported

_ERRORS = {kind.code: kind for kind in (errors.StoreError, errors.StoreDamaged, errors.StoreFull, errors.NotFound)}


def run(verb: str, path: str, *arguments: str, report: Report = unreported) -> list[str]:
    """Run a verb of ``WORK`` on the store at ``path``; its sentences. Raises the verb's errors, and StoreDamaged when
    its process ended by a signal."""
    acts_as_owner = os.geteuid() != os.getuid()
    process = subprocess.Popen(
        [sys.executable, "-P", "-B", "-m", "shazimd.store.child", str(os.getpid()), verb, path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # As root that acts as the owner of the store: the owner may not be allowed to run the interpreter. Otherwise
        # nothing is set: the daemon's sandbox forbids to set a user, its own too.
        user=os.getuid() if acts_as_owner else None,
        group=os.getgid() if acts_as_owner else None,
    )
    reply, complaints = _followed(process, report)
    ended = process.returncode
    if ended in (-signal.SIGBUS, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE):
        name = signal.Signals(-ended).name
        raise StoreDamaged(f"store {path}: reading it ended by {name}, expected an intact LMDB file on a sound disk")
    if ended:
        raise StoreError(f"store {path}: {verb} ended with {ended}, expected 0: {' '.join(complaints[-1:])}")
    if error := reply.get("error"):
        raise _ERRORS.get(error["code"], StoreError)(error["message"])
    sentences: list[str] = reply["found"]
    return sentences


def _followed(process: subprocess.Popen[bytes], report: Report) -> tuple[dict[str, Any], list[str]]:
    """The reply of the child, which has ended then, empty without one; and its lines on standard error: a traceback
    fits into the pipe."""
    reply: dict[str, Any] = {}
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):  # cut by a signal
                break
            message = json.loads(line)
            if progress := message.get("progress"):
                report(*progress)
            else:
                reply = message
        complaints = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    return reply, complaints


def answer(work: dict[str, Callable[..., list[str]]], arguments: Sequence[str]) -> dict[str, object]:
    """The reply of the child: what a verb found, or its error."""
    verb, *rest = arguments
    try:
        return {"found": work[verb](*rest, report=_Speaker())}
    except errors.ShazimdError as error:
        return {"error": {"code": error.code, "message": str(error)}}


class _Speaker:
    """A ``Report`` to the parent process, a few times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL_S
            print(json.dumps({"progress": [text, done, total]}), flush=True)


def main() -> None:
    gc.disable()
    from shazimd.store import inspection  # it starts children by this module

    gc.freeze()  # modules stay: collections while they load, and at the end, cost more than all else on a small store
    gc.enable()
    parent, *arguments = sys.argv[1:]
    end_with_parent()
    if os.getppid() == int(parent):
        print(json.dumps(answer(inspection.WORK, arguments)))


if __name__ == "__main__":
    main()

"""Work on a store in a process of its own: damage that LMDB or the disk answers by a signal ends that process alone.

    python -m shazimd.store.child VERB ARGUMENT...

prints a JSON object: the sentences found, or the error.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from shazimd import errors
from shazimd.errors import StoreDamaged, StoreError
from shazimd.posix import process

_ERRORS = {kind.code: kind for kind in (errors.StoreError, errors.StoreDamaged, errors.StoreFull, errors.NotFound)}


def run(verb: str, path: str, *arguments: str) -> list[str]:
    """Run a verb of ``WORK`` on the store at ``path``; its sentences. Raises the verb's errors, and StoreDamaged when
    its process ended by a signal."""
    acts_as_owner = os.geteuid() != os.getuid()
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-B", "-m", "shazimd.store.child", str(os.getpid()), verb, path, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        # As root that acts as the owner of the store: the owner may not be allowed to run the interpreter. Otherwise
        # nothing is set: the daemon's sandbox forbids to set a user, its own too.
        user=os.getuid() if acts_as_owner else None,
        group=os.getgid() if acts_as_owner else None,
    )
    if done.returncode in (-signal.SIGBUS, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE):
        name = signal.Signals(-done.returncode).name
        raise StoreDamaged(f"store {path}: reading it ended by {name}, expected an intact LMDB file on a sound disk")
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StoreError(f"store {path}: {verb} ended with {done.returncode}, expected 0: {' '.join(last)}")
    reply = json.loads(done.stdout)
    if error := reply.get("error"):
        raise _ERRORS.get(error["code"], StoreError)(error["message"])
    sentences: list[str] = reply["found"]
    return sentences


def answer(work: dict[str, Callable[..., list[str]]], arguments: Sequence[str]) -> dict[str, object]:
    """The reply of the child: what a verb found, or its error."""
    verb, *rest = arguments
    try:
        return {"found": work[verb](*rest)}
    except errors.ShazimdError as error:
        return {"error": {"code": error.code, "message": str(error)}}


def main() -> None:
    from shazimd.store import inspection  # it starts children by this module

    parent, *arguments = sys.argv[1:]
    process.end_with_parent()
    if os.getppid() == int(parent):
        print(json.dumps(answer(inspection.WORK, arguments)))


if __name__ == "__main__":
    main()

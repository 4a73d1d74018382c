"""What was said to be kept is there after the process was killed."""

from __future__ import annotations

import os
import signal
import warnings
from functools import partial
from pathlib import Path
from typing import IO

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Stat

ROUNDS = 10


def write_on(directory: str, first: int, report: IO[str]) -> None:
    """Write without an end, and report each write."""
    store = open_store(directory, 1 << 20)
    for number in range(first, first + 100_000):
        store.write(partial(_write, n=number))
        print(number, file=report, flush=True)


def _write(writer: Writer, n: int) -> None:
    fingerprint = Fingerprint(Signals((n, n), None), None, 1, 1, "PNG", features=b"f" * 5000)
    content = writer.add_content(b"digest %d" % n, fingerprint)
    writer.put_file(b"/dir %d/file %d" % (n % 3, n), FileRow(Stat(n, n, n), FileState.INDEXED, content))
    if n % 5 == 4:
        writer.move(b"/dir %d" % (n % 3), b"/moved %d" % n)
        writer.remove_tree(b"/moved %d" % (n - 5))
        writer.prune(range(1, content))


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    """Round after round a writer is killed in its work: all that it reported is there, and everything is in order."""
    directory = str(tmp_path / "store")
    first = 0
    for round_ in range(ROUNDS):
        last = _write_until_killed(directory, first, writes=1 + round_ * 6)
        store = open_store(directory, 1 << 20)
        with store.read() as reader:
            row = reader.file(b"/dir %d/file %d" % (last % 3, last)) or reader.file(b"/moved %d/file %d" % (last, last))
            assert row is not None, f"round {round_}: write {last} was reported, but is not there"
            assert row.stat.size == last
        assert store.check() == []
        store.close()
        first = last + 2  # the write after the last one reported may or may not be there


def _write_until_killed(directory: str, first: int, writes: int) -> int:
    """The last write that was reported as done. The writer is a fork of this process: to load its modules would take
    a third of a second."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Python 3.12 on: the process may have threads
        writer = os.fork()
    if writer == 0:
        try:
            with open(theirs, "w") as report:
                write_on(directory, first, report)
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours) as reports:
        for _ in range(writes):
            last = reports.readline()
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        rest = reports.read().splitlines(keepends=True)
    return int([last, *(line for line in rest if line.endswith("\n"))][-1])

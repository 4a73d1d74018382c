"""What was said to be kept is there after the process was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shazimd.store.lmdb_store import open_store

ROUNDS = 10

WRITER = """
import sys
from shazimd.store.lmdb_store import open_store
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.types import FileRow, FileState, Stat

store = open_store(sys.argv[1], 1 << 20)
first = int(sys.argv[2])

def work(writer):
    fingerprint = Fingerprint(Signals((n, n), None), None, 1, 1, "PNG", features=b"f" * 5000)
    content = writer.add_content(b"digest %d" % n, fingerprint)
    writer.put_file(b"/dir %d/file %d" % (n % 3, n), FileRow(Stat(n, n, n), FileState.INDEXED, content))
    if n % 5 == 4:
        writer.move(b"/dir %d" % (n % 3), b"/moved %d" % n)
        writer.remove_tree(b"/moved %d" % (n - 5))
        writer.prune(range(1, content))

for n in range(first, first + 100_000):
    store.write(work)
    print(n, flush=True)
"""


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
    """The last write that was reported as done."""
    arguments = [sys.executable, "-c", WRITER, directory, str(first)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(writes):
            last = process.stdout.readline()
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
    return int([last, *(line for line in rest if line.endswith("\n"))][-1])

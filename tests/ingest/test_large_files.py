"""A large picture on its way through the daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SIZE = 128 << 20
PROGRAM = """
import json, os, resource, sys
from shazimd.errors import NotAnImage
from shazimd.ingest.disk import read_whole
from shazimd.types import Stat
from shazimd.workers.pool import WorkerPool

def is_sealed(descriptor):
    try:
        return "memfd" in os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # of the listing itself
        return False

path = os.fsencode(sys.argv[1])
with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=10**6) as pool:
    pool.query(b"no picture", None).query.exception()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = read_whole(path, Stat.of(os.stat(path)), follow_symlinks=True)
    job = pool.query(content.data, None).query
    sealed = sum(map(is_sealed, os.listdir("/proc/self/fd")))
    assert isinstance(job.exception(), NotAnImage), job.exception()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([grown << 10, sealed]))
"""


def test_it_is_in_memory_once(tmp_path: Path) -> None:
    """In sealed memory, of which the worker gets a descriptor; the daemon's own memory grows by a small part of it."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(SIZE)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, check=True)
    grown, sealed = json.loads(done.stdout)
    assert 1 == sealed
    assert grown < SIZE / 10

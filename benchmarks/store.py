"""The cost of checksums, and of looking through a store: python -m benchmarks.store [CONTENTS]"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np

from shazimd.fingerprint import Fingerprint, FloatVector, Signals
from shazimd.store import maintenance, tables
from shazimd.store.base import Reader, Writer
from shazimd.store.damage import last
from shazimd.store.lmdb_store import Store, open_store
from shazimd.store.tables import Tables
from shazimd.text import HASHES
from shazimd.types import FileRow, FileState, Stat

WIDTH, FEATURES_BYTES, BATCH, REPEATS = 256, 11_500, 1000, 5
SAMPLE = 2000


def digest(n: int) -> bytes:
    return hashlib.blake2b(b"%d" % n, digest_size=32).digest()


def fingerprint(n: int, fv: FloatVector, features: bytes) -> Fingerprint:
    return Fingerprint(Signals((n,) * len(HASHES), fv), "m", 640, 480, "JPEG", digest(-n), False, b"\x02" + features)


def fill(path: str, contents: int) -> float:
    """Write a store; CPU seconds of the writes alone."""
    rng = np.random.default_rng(1)
    spent = 0.0
    with closing(open_store(path, 1 << 30)) as store:
        for first in range(0, contents, BATCH):
            vectors = rng.standard_normal((BATCH, WIDTH)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            numbers = range(first, min(first + BATCH, contents))
            made = [fingerprint(n, fv, rng.bytes(FEATURES_BYTES)) for n, fv in zip(numbers, vectors, strict=False)]

            def write(writer: Writer, first: int = first, made: list[Fingerprint] = made) -> None:
                for n, each in enumerate(made, first):
                    content = writer.add_content(digest(n), each)
                    row = FileRow(Stat(n, n, n, n), FileState.INDEXED, content)
                    writer.put_file(b"/srv/%d/%d.jpg" % (n // 500, n), row)

            begin = time.process_time()
            store.write(write)
            spent += time.process_time() - begin
    return spent


def best_ms(work: Callable[[], object]) -> float:
    def once() -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    return 1e3 * min(once() for _ in range(REPEATS))


def reads(store: Store, sample: int) -> dict[str, float]:
    """CPU milliseconds of some reads."""

    def all_of(read: Callable[[Reader], object]) -> Callable[[], object]:
        def work() -> None:
            with store.read() as reader:
                read(reader)

        return work

    return {
        "a pass over the hashes": best_ms(all_of(lambda r: sum(1 for _ in r.hashes()))),
        "a pass over hashes and vectors": best_ms(all_of(lambda r: sum(1 for _ in r.signals("m")))),
        "a walk over the files": best_ms(all_of(lambda r: sum(1 for _ in r.walk(b"/")))),
        f"{sample} fingerprints": best_ms(all_of(lambda r: [r.fingerprint(n, "m") for n in range(1, sample + 1)])),
    }


def look_through(path: str) -> tuple[float, float]:
    """CPU seconds of the verifier of the structure, and of the checksums of all rows."""
    with last(path) as snapshot:
        begin = time.process_time()
        assert not list(snapshot.problems())
        between = time.process_time()
        rows = snapshot.rows()
        assert sum(1 for name in Tables._fields for _ in rows.of(name))
        assert not rows.damaged
        return between - begin, time.process_time() - between


def main(contents: int) -> None:
    sample = min(SAMPLE, contents)
    with tempfile.TemporaryDirectory() as folder:
        with_sums = fill(os.path.join(folder, "store"), contents)
        store = open_store(os.path.join(folder, "store"), 1 << 30)
        checked = reads(store, sample)
        with patch.object(tables, "crc32", lambda *_: tables._RESIDUE):
            unchecked = reads(store, sample)
            without = fill(os.path.join(folder, "without"), contents)
        store.close()
        print(f"{'CPU ms, ' + str(contents) + ' contents':36} without  with checksums")
        for name, ms in {"written": 1e3 * with_sums, **checked}.items():
            print(f"{name:36} {unchecked.get(name, 1e3 * without):7.1f}  {ms:7.1f}")
        structure, rows = look_through(os.path.join(folder, "store"))
        size = Path(folder, "store", "data.mdb").stat().st_size
        print(f"looked through, {size >> 20} MiB: structure {structure:.2f} s, rows {rows:.2f} s of CPU")
        begin = time.monotonic()
        assert not maintenance.check(os.path.join(folder, "store"))
        print(f"store check: {time.monotonic() - begin:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)

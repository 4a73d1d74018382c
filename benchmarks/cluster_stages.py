"""How fast is each step of following alone?

    python -m benchmarks.cluster_stages --rows 10000

The steps from the database to the index, one after the other, each with all rows before the next begins. The database
is a real one, filled by COPY; the requests are those of a link. Printed are rows a second, and the processor time of
this process for a row. benchmarks/README.md has the last answers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

sys.path += [str(Path(__file__).resolve().parents[1] / place) for place in ("tests", "tests/cluster")]

from postgres_server import PostgresServer

from benchmarks.cluster_rows import HOST, Maker, batches, fill
from shazimd.cluster import admin
from shazimd.cluster.deliver import PART
from shazimd.cluster.postgres import PostgresCluster
from shazimd.index.cascade import CascadeIndex
from shazimd.ingest.foreign import write_rows
from shazimd.ingest.foreign_rows import Checker, SoundRows
from shazimd.ingest.sharing import begin_sharing
from shazimd.models.model import bundled
from shazimd.store.lmdb_store import Store, open_store
from shazimd.words.index import WordIndex
from shazimd.words.packing import VERSION, unpack_words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    print(f"load average {os.getloadavg()[0]:.1f}")
    model = bundled()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = opened.enter_context(closing(PostgresServer()))
        server.create()
        server.start()
        server.createdb("shazim")
        admin.init(server.url("shazim"))
        maker = Maker(model.id, model.output_width)
        fill(server.url("shazim"), maker, rows)
        timed("pages and fingerprints from the database", rows, lambda: read(server.url("shazim")))
        made = list(batches(maker, rows, PART))
        bodies = timed("requests packed", rows, lambda: [msgspec.msgpack.encode(each) for each in made])
        checker = Checker(packed=True, features=True)
        sound = timed("rows checked", rows, lambda: [checker.sound(b"made:/", each) for each in bodies])
        assert not any(each.refused for each in sound)
        store = opened.enter_context(closing(open_store(str(folder / "store"), 4 << 30, VERSION)))
        store.write(lambda writer: begin_sharing(writer, is_shared=True))
        written = timed("rows stored, durable", rows, lambda: write(store, sound))
        with store.read() as reader:
            index = opened.enter_context(closing(CascadeIndex.open(str(folder / "index"), reader, "none")))
        timed("rows added to the index", rows, lambda: [index.add([(c, f.signals) for c, f in w]) for w in written])
        (folder / "words").mkdir()
        words = opened.enter_context(closing(WordIndex(str(folder / "words"))))
        words.load([])
        timed(
            "rows added to the words",
            rows,
            lambda: [words.add([(c, unpack_words(f.features)) for c, f in w]) for w in written],
        )
    print(f"load average {os.getloadavg()[0]:.1f}")


def timed(name: str, rows: int, work: Callable[[], Any]) -> Any:
    started, spent = time.perf_counter(), time.process_time()
    result = work()
    wall, used = time.perf_counter() - started, time.process_time() - spent
    print(f"{name}: {rows / wall:,.0f} rows/s, {used / rows * 1e6:.0f} us of processor time a row", flush=True)
    return result


def read(url: str) -> None:
    after, last = "", False
    with closing(PostgresCluster(url, "reader")) as cluster:
        while not last:
            page = cluster.all_files(HOST, after)
            cluster.contents(HOST, [file.digest for file in page.files])
            after, last = page.position, page.is_last


def write(store: Store, sound: list[SoundRows]) -> list[Any]:
    return [
        store.write(lambda writer, rows=rows: write_rows(writer, rows, HOST, None)).contents  # type: ignore[misc]
        for rows in sound
    ]


if __name__ == "__main__":
    main()

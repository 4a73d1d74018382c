"""How soon is the first group of duplicates there, and what does a page cost? One command, one table:

    python -m benchmarks.groups [--images 100000] [--groups 10000] [--pages 20]

The store is made of rows alone: contents in groups of two to five, tied by relations, by equal pixels or by the same
bytes, the others alone; a thousand files to a directory. The listing and the pages are those of the daemon, in process.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import combinations
from statistics import median

import psutil

from benchmarks.filling import put_picture, relate
from shazimd.index.flat import FlatIndex
from shazimd.search.duplicates import Duplicates, GroupFilter, Scoring
from shazimd.search.keep import KeepRules
from shazimd.search.library import Library
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import DEFAULT_WEIGHTS, DecisionKind, Evidence, FileRow, FileState, PictureFacts, Stat, UserDecision

CROP, FACTS = Evidence(("crop",), (), 0.5), PictureFacts("Camera", "2024:05:01 12:00:00", 90)
SCORING = Scoring(DEFAULT_WEIGHTS, 0.75)
RULES = KeepRules.of((), ())
BATCH = 5000


def sizes(images: int, groups: int, rng: random.Random) -> Iterator[int]:
    """The number of images of each group, then 1 for each image alone."""
    made = 0
    for _ in range(groups):
        size = rng.randint(2, 5)
        made += size
        yield size
    yield from (1 for _ in range(images - made))


class Filler:
    """Writes groups into a store."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files = 0

    def put_all(self, sizes: Iterable[int], writer: Writer) -> None:
        for size in sizes:
            self.put(writer, size)

    def put(self, writer: Writer, size: int) -> None:
        """A group: related copies, contents with equal pixels, or files of the same bytes."""
        kind = self._rng.random()
        digest = hashlib.blake2b(b"%d" % self._files, digest_size=32).digest
        if size > 1 and kind < 0.3:
            self._content(writer, digest(), None, size)
            return
        contents = []
        for n in range(size):
            name = hashlib.blake2b(b"%d %d" % (self._files, n), digest_size=32).digest()
            contents.append(self._content(writer, name, digest() if size > 1 and kind < 0.5 else name, 1))
        if kind >= 0.5:
            for a, b in combinations(contents, 2):
                relate(writer, b, a, evidence=CROP)

    def _content(self, writer: Writer, digest: bytes, pixels: bytes | None, files: int) -> int:
        hashes = self._rng.getrandbits(64), self._rng.getrandbits(64)
        paths = dict(self._file() for _ in range(files))
        return put_picture(writer, digest, paths, (4000, 3000), pixels, hashes, facts=FACTS)

    def _file(self) -> tuple[bytes, Stat]:
        self._files += 1
        path = b"/srv/photos/%d/IMG_%d.jpg" % (self._files // 1000, self._files)
        return path, Stat(self._rng.randint(10**6, 10**7), self._files, self._files, self._files)


def fill(store: Store, images: int, groups: int) -> None:
    rng = random.Random(1)
    filler = Filler(rng)
    waiting = list(sizes(images, groups, rng))
    rng.shuffle(waiting)
    for start in range(0, len(waiting), BATCH):
        store.write(partial(filler.put_all, waiting[start : start + BATCH]))


def decide(store: Store, digest: bytes) -> None:
    store.write(lambda writer: writer.decisions.add(UserDecision(DecisionKind.LEAVE, (digest,))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=20)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(folder, 4 << 30)) as store,
    ):
        fill(store, options.images, options.groups)
        with closing(Library(store, lambda _store, _model: FlatIndex())) as library:
            library.loaded.result()
            measure(Duplicates(library, verified=True), store, options.pages)


def measure(duplicates: Duplicates, store: Store, pages: int) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    started, busy = time.perf_counter(), time.thread_time()
    first = next(filter(None, duplicates.groups(RULES, SCORING)))
    cpu_s = time.thread_time() - busy
    took_s = time.perf_counter() - started
    print(f"first group                  {took_s:8.3f} s, {cpu_s:.3f} s of a processor, {len(first.members)} files")
    took, after, number = [], None, 0
    for _ in range(pages):
        started = time.perf_counter()
        page = duplicates.page(RULES, SCORING, GroupFilter(), after, 50)
        took.append(time.perf_counter() - started)
        after, number = page.after, page.total
    print(f"page of 50 of {number:6d} groups {1000 * median(took):8.1f} ms at the median of {pages}")
    decide(store, first.id)
    started = time.perf_counter()
    duplicates.settle([first.id])
    duplicates.page(RULES, SCORING, GroupFilter(), None, 50)
    print(f"page after a decision        {time.perf_counter() - started:8.3f} s")
    store.write(lambda writer: writer.put_file(b"/srv/photos/new.jpg", FileRow(Stat(1, 1, 1, 1), FileState.INDEXED, 1)))
    started = time.perf_counter()
    duplicates.page(RULES, SCORING, GroupFilter(), None, 50)
    print(f"page after a new file        {time.perf_counter() - started:8.3f} s")
    print(f"memory                       {(process.memory_info().rss - before) / 2**20:8.1f} MiB more")


if __name__ == "__main__":
    main()

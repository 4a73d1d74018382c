"""Contents without files are removed with everything derived from them, when their grace is over or when asked."""

from __future__ import annotations

from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes
from patience import PATIENCE_S, wait_for

from shazimd.errors import BadInput
from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.index.flat import FlatIndex
from shazimd.ingest import collect
from shazimd.ingest.collect import Collector
from shazimd.ingest.commit import Committer
from shazimd.ingest.lanes import Jobs
from shazimd.search.library import Library
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import ContentId, FileRow, FileState, Stat
from shazimd.words.packing import FEATURE, HEADER, VERSION

SMALL_PICTURE = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x09\0\x09\1\1\x11\0\xff\xd9"
"""the header of a JPEG of 9 x 9 pixels"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now = 1_700_000_000.0
        self.store = open_store(str(folder / "store"), 64 << 20, VERSION, clock=lambda: self.now)
        self.library = Library(self.store, lambda _, __: FlatIndex())
        self.library.loaded.result(PATIENCE_S)
        self.committer = Committer(self.store)
        self.jobs = Jobs(threads=1)

    def close(self) -> None:
        self.jobs.close()
        self.committer.close()
        self.library.close()
        self.store.close()

    def collect(self, keep_s: float) -> None:
        """Look once, and wait until the look is over."""
        Collector(self.library, self.committer, self.jobs, keep_s).start()
        wait_for(lambda: not self.jobs.pending())

    def add(self, *names: str) -> None:
        """Known files, each with a content of its own, in the store and in the indexes."""

        def work(w: Writer) -> list[tuple[ContentId, Fingerprint]]:
            return [(self._put(w, name), _fingerprint(name)) for name in names]

        self.library.add(self.store.write(work))

    def _put(self, w: Writer, name: str) -> ContentId:
        content = w.add_content(_digest(name), _fingerprint(name))
        w.put_file(_path(name), FileRow(Stat(1, 1, 1), FileState.INDEXED, content))
        w.add_pending_alert(_path(name), Query(_fingerprint(name), ()))
        return content

    def remove(self, *names: str) -> None:
        self.store.write(lambda w: [w.remove_file(_path(name)) for name in names])

    def known(self) -> list[int]:
        """The contents that the store, the index and the word index know, and that have pending alerts or pixels."""
        with self.store.read() as reader:
            kept = [content for content, _ in reader.signals("m")]
            paths = [path for _, path, _ in reader.pending_alerts()]
            pixels = [content for n in range(1, 10) for content in reader.contents_with_pixels(b"%032d" % n)]
            vectors = reader.counts()["vectors"]
        assert pixels == kept
        assert len(paths) == vectors == len(kept)
        assert [content for content in range(1, 10) if content in self.library.index] == kept
        assert [content for content in range(1, 10) if content in self.library.words] == kept
        assert self.store.check() == []
        return kept


def _path(name: str) -> bytes:
    return b"/r/" + name.encode()


def _digest(name: str) -> bytes:
    return b"%032d" % int(name)


def _fingerprint(name: str) -> Fingerprint:
    number = int(name)
    rows = np.zeros(3, FEATURE)
    rows["word"] = [number, number + 1, number + 2]
    features = HEADER.pack(VERSION, 0, 10, 10, 3) + rows.tobytes() + SMALL_PICTURE
    signals = Signals(first_hashes(number, number), np.eye(1, 8, number % 8, dtype=np.float32)[0])
    return Fingerprint(signals, "m", 10, 10, "PNG", _digest(name), features=features)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_content_is_removed_when_its_grace_is_over(bench: Bench) -> None:
    """With its vectors, features, pixels and pending alerts, and from the indexes; not a second before."""
    bench.add("1", "2", "3")
    bench.remove("1", "3")
    bench.collect(keep_s=600)
    bench.now += 599
    bench.collect(keep_s=600)
    with bench.store.read() as reader:
        assert reader.counts()["contents"] == 3
    bench.now += 1
    bench.collect(keep_s=600)
    assert bench.known() == [2]


def test_many_contents_are_removed_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look after the other, until none is due."""
    monkeypatch.setattr(collect, "BATCH", 2)
    names = [str(n) for n in range(1, 8)]
    bench.add(*names)
    bench.remove(*names[1:])
    bench.collect(keep_s=0)
    assert bench.known() == [1]


def test_it_looks_again_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a deletion needs no other event to be noticed."""
    monkeypatch.setattr(collect, "INTERVAL_S_MIN", 0.01)
    bench.collect(keep_s=0)
    bench.add("1", "2")
    bench.remove("1")
    wait_for(lambda: 1 not in bench.library.index and 1 not in bench.library.words)
    assert bench.known() == [2]


def test_a_fault_does_not_end_the_collection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look finds what the failed one left."""
    monkeypatch.setattr(collect, "INTERVAL_S_MIN", 0.01)
    faults = [OSError("a bad disk")]
    submit = bench.committer.submit

    def failing(*args: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return submit(*args, **options)

    monkeypatch.setattr(bench.committer, "submit", failing)
    bench.add("1", "2")
    bench.remove("1")
    bench.collect(keep_s=0)
    wait_for(lambda: 1 not in bench.library.index and 1 not in bench.library.words)
    assert bench.known() == [2]


def test_nothing_due_costs_no_write(bench: Bench) -> None:
    """But for the store's clock, once an hour."""
    bench.add("1")
    collector = Collector(bench.library, bench.committer, bench.jobs, keep_s=3600)
    collector.start()
    wait_for(lambda: not bench.jobs.pending())
    bench.committer.close()  # a write would raise
    collector.start()
    wait_for(lambda: not bench.jobs.pending())
    assert bench.known() == [1]


def test_a_path_is_forgotten_with_contents_that_nothing_else_holds(bench: Bench) -> None:
    """A content of another file stays."""
    bench.add("1", "2", "3")
    bench.store.write(lambda w: w.put_file(b"/other", FileRow(Stat(1, 1, 1), FileState.INDEXED, 3)))
    bench.store.write(lambda w: w.add_pending_alert(b"/other", Query(_fingerprint("3"), ())))
    bench.remove("2")
    assert collect.forget_path(bench.library, bench.committer, b"/r") == 2
    with bench.store.read() as reader:
        assert [content for content, _ in reader.signals("m")] == [2, 3]
        assert list(reader.deleted()) == [2]


@pytest.mark.parametrize("path", [b"/", b"//r", b"/" + b"x" * 500])
def test_a_path_that_cannot_be_forgotten_is_bad_input(bench: Bench, path: bytes) -> None:
    """The root directory and impossible paths are refused with an error, and nothing is removed."""
    bench.add("1")
    with pytest.raises(BadInput, match="expected a file or directory below /, with names of at most 495 bytes"):
        collect.forget_path(bench.library, bench.committer, path)
    assert bench.known() == [1]


def test_deleted_contents_are_forgotten_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their grace, all of them, and no others."""
    monkeypatch.setattr(collect, "BATCH", 2)
    bench.add("1", "2", "3", "4")
    bench.remove("1", "2", "4")
    assert collect.forget_deleted(bench.library, bench.committer) == 3
    assert collect.forget_deleted(bench.library, bench.committer) == 0
    assert bench.known() == [3]


def test_a_digest_is_forgotten_with_its_files(bench: Bench) -> None:
    """An unknown one is not counted."""
    bench.add("1", "2")
    assert collect.forget_content(bench.library, bench.committer, _digest("1")) == (1, [1], [])
    assert collect.forget_content(bench.library, bench.committer, _digest("1")) == (0, [], ())
    assert bench.known() == [2]
    with bench.store.read() as reader:
        assert [path for path, _ in reader.walk(b"/")] == [b"/r/2"]


def test_a_picture_that_another_took_the_place_of_leaves_no_pending_alert(bench: Bench) -> None:
    """Its file is known, with other bytes: the alert would keep its features. The alert of the bytes there now is kept,
    and so is an alert of the same pixels under other metadata."""
    bench.add("1", "2", "3")

    def overwrite(w: Writer) -> None:
        bench._put(w, "4")
        w.put_file(_path("1"), FileRow(Stat(2, 2, 2), FileState.INDEXED, 2))
        same_pixels = w.add_content(_digest("9"), _fingerprint("3"))
        w.put_file(_path("3"), FileRow(Stat(2, 2, 2), FileState.INDEXED, same_pixels))

    bench.store.write(overwrite)
    assert collect.forget_deleted(bench.library, bench.committer) == 2
    with bench.store.read() as reader:
        left = [(path, query.fingerprint.pixels) for _, path, query in reader.pending_alerts()]
    assert left == [(_path(name), _digest(name)) for name in ("2", "3", "4")]


def test_a_picture_of_another_host_is_not_forgotten(bench: Bench) -> None:
    """Its fingerprint is needed for the files there, and the answer names the hosts; the files here are forgotten."""
    bench.add("1", "2")
    for path in (b"nas:/p/1", b"nas:/p/2", b"attic:/1"):
        bench.store.write(methodcaller("put_file", path, FileRow(Stat(1, 1, 1), FileState.INDEXED, 1)))
    assert collect.forget_content(bench.library, bench.committer, _digest("1")) == (0, [], ["attic", "nas"])
    with bench.store.read() as reader:
        assert (reader.files_of(1), reader.knows(1)) == ([], True)

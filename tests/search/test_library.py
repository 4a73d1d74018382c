"""The words of known contents: loaded beside everything else, past rows that are damaged or of another version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S
from structlog.testing import capture_logs

from shazimd.index.flat import FlatIndex
from shazimd.search.library import Library
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Fingerprint, Signals, Stat
from shazimd.words.packing import FEATURE, HEADER, VERSION

Open = Callable[[], Library]


def packed(words: list[int], version: int = VERSION) -> bytes:
    rows = np.zeros(len(words), FEATURE)
    rows["word"] = words
    return HEADER.pack(version, 0, 10, 10, len(words)) + rows.tobytes() + b"luma"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 << 20, VERSION)
    yield opened
    opened.close()


@pytest.fixture
def open_library(store: Store) -> Iterator[Open]:
    opened: list[Library] = []

    def open_() -> Library:
        opened.append(Library(store, lambda _, __: FlatIndex()))
        wait([opened[-1].loaded], PATIENCE_S)
        return opened[-1]

    yield open_
    for library in opened:
        library.close()


def fill(store: Store, *features: bytes) -> None:
    def work(w: Writer) -> None:
        for n, each in enumerate(features, start=1):
            content = w.add_content(b"%d" % n, Fingerprint(Signals(n, n, None), None, 1, 1, "PNG", features=each))
            w.put_file(b"/%d" % n, FileRow(Stat(n, n, n), FileState.INDEXED, content))

    store.write(work)


def test_damaged_and_outdated_features_do_not_stop_the_others(store: Store, open_library: Open) -> None:
    """Their contents are skipped, and the damaged ones named once, with an example."""
    fill(store, packed([1]), packed([2] * 9)[:30], packed([3], version=1), packed([4] * 9)[:4], b"", packed([6]))
    with capture_logs() as logs:
        library = open_library()
    assert library.loaded.result() == [2, 4]
    assert [content for content in range(1, 7) if content in library.words] == [1, 6]
    (line,) = [line for line in logs if line["event"] == "features_damaged"]
    assert (line["contents"], line["example"]) == (2, b"/2")
    assert library.alive()


def test_features_that_were_made_anew_are_found(store: Store, open_library: Open) -> None:
    """Though the content was skipped before."""
    fill(store, packed([3], version=1))
    library = open_library()
    with store.read() as reader:
        known = reader.fingerprint(1, None)
    assert 1 not in library.words
    fresh = Fingerprint(known.signals, None, 1, 1, "PNG", features=packed([3]))
    library.replace([(1, fresh)])
    assert 1 in library.words


def test_a_thread_that_failed_is_seen(store: Store, open_library: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is not alive then, and the log says why."""

    def fail(*_: object) -> None:
        raise OSError("no directory")

    monkeypatch.setattr("shazimd.words.index.WordIndex.load", fail)
    with capture_logs() as logs:
        library = open_library()
    assert not library.alive()
    assert [line["event"] for line in logs] == ["words_not_loaded"]


def test_words_of_another_version_are_deleted(store: Store, open_library: Open, tmp_path: Path) -> None:
    """They would be compared with words of the present one."""
    for name in ("words", "words-1"):
        (tmp_path / "store" / "index" / name).mkdir(parents=True)
    open_library()
    assert [path.name for path in (tmp_path / "store" / "index").iterdir()] == [f"words-{VERSION}"]


def test_compacting_rewrites_words_of_removed_contents(store: Store, open_library: Open, tmp_path: Path) -> None:
    """All are gone when all contents were removed, else those of the others stay."""
    fill(store, packed([1, 2]), packed([3]))
    library = open_library()
    library.close()
    directory = tmp_path / "store" / "index" / f"words-{VERSION}"
    library = open_library()
    (before,) = directory.iterdir()
    size = before.stat().st_size
    library.remove([1])
    library.compact()
    (after,) = directory.iterdir()
    assert after.stat().st_size < size
    assert 2 in library.words
    library.remove([2])
    library.compact()
    assert list(directory.iterdir()) == []
    assert library.words.search(np.array([3], np.uint16), 10) == []

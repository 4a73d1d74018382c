"""The words of known contents: loaded beside everything else, past rows that are damaged or of another version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes
from patience import PATIENCE_S
from structlog.testing import capture_logs

from shazimd.errors import StoreFull
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.cascade import REWIND
from shazimd.index.flat import FlatIndex
from shazimd.models.model import ModelInfo
from shazimd.search.library import BESIDE_MAX, Library
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import ContentId, FileRow, FileState, Stat
from shazimd.words.index import WordIndex
from shazimd.words.packing import FEATURE, HEADER, VERSION

Open = Callable[[], Library]
MODEL = ModelInfo("m", "m", "00", "", 1, 1, 64)


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


def fill(store: Store, *features: bytes, is_faint: bool = False) -> None:
    def work(w: Writer) -> None:
        for n, each in enumerate(features, start=1):
            known = Fingerprint(Signals(first_hashes(n, n), None), None, 1, 1, "PNG", None, is_faint, each)
            content = w.add_content(b"%d" % n, known)
            w.put_file(b"/%d" % n, FileRow(Stat(n, n, n), FileState.INDEXED, content))

    store.write(work)


def remove(store: Store, number: int) -> int:
    store.write(lambda w: w.remove_file(b"/%d" % number))
    return store.write(lambda w: w.prune([number]))


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


@pytest.mark.parametrize("is_faint", [False, True])
def test_a_content_that_is_removed_while_it_is_loaded_stays_out(
    store: Store, open_library: Open, monkeypatch: pytest.MonkeyPatch, is_faint: bool
) -> None:
    """The loader adds the content after its removal: the store was read before."""
    fill(store, packed([1]), packed([2]), packed([3]), is_faint=is_faint)
    remove(store, 1)
    kind = FlatIndex if is_faint else WordIndex
    add = kind.add

    def after_a_removal(index: Any, rows: Any) -> None:
        if not gone:
            gone.append(remove(store, 2))
            index.remove([2])
        add(index, rows)

    gone: list[int] = []
    monkeypatch.setattr(kind, "add", after_a_removal)
    library = open_library()
    assert [gone, [3], [3] * is_faint] == [
        [1],
        [n for n in range(1, 4) if n in library.words],
        [n for n in range(1, 4) if n in library.faint],
    ]


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


def test_a_full_disk_leaves_the_library_with_the_model_before(store: Store) -> None:
    """And with its index; a second try takes the model into use."""
    faults = iter([None, StoreFull("no space"), None])
    opened: list[FlatIndex] = []

    def open_index(_store: Store, _model: str | None) -> FlatIndex:
        if fault := next(faults):
            raise fault
        opened.append(FlatIndex())
        return opened[-1]

    with closing(Library(store, open_index)) as library:
        with pytest.raises(StoreFull):
            library.use_model(MODEL)
        assert (library.model, library.index) == (None, opened[0])
        library.use_model(MODEL)
        assert (library.model, library.index) == (MODEL, opened[1])


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


class SlowIndex(FlatIndex):
    """Adds nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_add = threading.Event()

    def add(self, contents: Sequence[tuple[ContentId, Signals]]) -> None:
        assert self.may_add.wait(PATIENCE_S)
        super().add(contents)


@pytest.fixture
def slow(store: Store) -> Iterator[tuple[Library, SlowIndex]]:
    index = SlowIndex()
    with closing(Library(store, lambda _, __: index)) as library:
        yield library, index


def rows(ids: range) -> list[tuple[ContentId, Fingerprint]]:
    return [(n, Fingerprint(Signals(first_hashes(n, n), None), None, 1, 1, "PNG")) for n in ids]


def test_a_content_is_removed_after_it_was_added_beside(slow: tuple[Library, SlowIndex]) -> None:
    """Else it would stay in the index for ever."""
    library, index = slow
    library.replace_beside(rows(range(1, 3)))
    removing = threading.Thread(target=library.remove, args=([1],))
    removing.start()
    index.may_add.set()
    removing.join(PATIENCE_S)
    assert (1 in index, 2 in index) == (False, True)


def test_no_more_are_added_beside_than_a_start_looks_for(slow: tuple[Library, SlowIndex]) -> None:
    """A kill in between must not lose them: the next start finds what the index lacks among the last ids."""
    library, index = slow
    assert BESIDE_MAX < REWIND
    first = library.replace_beside(rows(range(1, BESIDE_MAX + 1)))
    assert not first.done()
    second = threading.Thread(target=library.replace_beside, args=(rows(range(BESIDE_MAX + 1, BESIDE_MAX + 2)),))
    second.start()
    assert not first.done()
    index.may_add.set()
    second.join(PATIENCE_S)
    assert first.done()

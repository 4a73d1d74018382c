"""The index of words in a directory, from one run to the next."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from patience import PATIENCE_S, wait_for
from word_rows import contents_of

from shazimd.words import index as module
from shazimd.words import segments
from shazimd.words.index import WordIndex
from shazimd.words.segments import Segment

KNOWN = 60


def some_words(seed: int, count: int = 40) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 65_536, count).astype(np.uint16)


@contextmanager
def opened(directory: Path, removed: tuple[int, ...] = ()) -> Iterator[WordIndex]:
    with closing(WordIndex(str(directory))) as index:
        index.load(removed)
        yield index


def add(index: WordIndex, *contents: int) -> None:
    for content in contents:
        index.add([(content, some_words(content))])


def wait_for_merges(index: WordIndex) -> None:
    """Wait until no merge runs. A merge starts the next one under the lock, so none is missed in between."""
    while True:
        with index._lock:
            merging = index._merging
        if merging is None or merging.done():
            return
        merging.result(timeout=PATIENCE_S)


def found(index: WordIndex) -> set[int]:
    """The contents that their own words find."""
    return {content for content in range(1, 2 * KNOWN) if index.search(some_words(content), 3)[:1] == [content]}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a run with KNOWN contents, sealed by fours, has left."""
    monkeypatch.setattr(module, "_SEAL_AT", 4)
    with opened(tmp_path / "words") as index:
        add(index, *range(KNOWN, 0, -1))
        index.remove([7])
    return tmp_path / "words"


def test_a_merge_is_the_same_in_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few entries are merged at once, the last step is shorter than the others."""
    parts = [Segment.of(n, {2 * c + n: some_words(2 * c + n) for c in range(1, 30)}) for n in (0, 1)]
    whole = segments.merged(parts, None)
    monkeypatch.setattr(segments, "ENTRIES_AT_ONCE", 100)
    monkeypatch.setattr(segments, "WORDS_AT_ONCE_MIN", 1_000)
    stepwise = segments.merged(parts, None)
    for name in ("contents", "rows", "starts", "counts"):
        assert np.array_equal(getattr(whole, name), getattr(stepwise, name))
    content = int(whole.contents[5])
    words = np.unique(some_words(content)).astype(np.intp)
    assert [5 in whole.rows[whole.starts[word] : whole.starts[word + 1]] for word in words] == [True] * len(words)


def test_what_one_run_knew_the_next_one_knows(directory: Path) -> None:
    """All contents are found again, but for those removed; what is missing is told; new ones come beside them."""
    with opened(directory, removed=(7, 9)) as index:
        assert set(range(1, KNOWN + 1)) - {7, 9} == found(index)
        assert sorted(set(range(1, KNOWN + 1)) - {7, 9}) == contents_of(index)
        assert [KNOWN + 1] == index.missing([1, KNOWN, KNOWN + 1])  # whether 7 is, depends on a merge
        add(index, *range(KNOWN + 1, KNOWN + 10))
    with opened(directory, removed=(7, 9)) as index:
        assert set(range(1, KNOWN + 10)) - {7, 9} == found(index)


def test_merging_leaves_few_files_and_no_removed_content(directory: Path) -> None:
    """Each file is at least twice as large as all newer ones; a removed content goes with a merge."""
    with opened(directory, removed=tuple(range(1, KNOWN + 1))) as index:
        add(index, *range(KNOWN + 1, 2 * KNOWN))
        add(index, *range(10 * KNOWN, 20 * KNOWN))
        wait_for_merges(index)
        rows = [len(segment.contents) for segment in index._state.sealed]
        assert all(rows[place] >= 2 * sum(rows[place + 1 :]) for place in range(len(rows)))
    sizes = [int(path.read_bytes().split()[3]) for path in directory.iterdir()]
    assert 6 >= len(sizes)
    assert 11 * KNOWN + KNOWN > sum(sizes)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), []),
        ((4,), []),
        ((8, 4), []),
        ((4, 4), [4, 4]),
        ((64, 20, 8, 4), [20, 8, 4]),
        ((448, 128, 64, 20, 8, 4), [128, 64, 20, 8, 4]),
    ],
)
def test_a_segment_that_is_too_small_is_merged_with_all_newer_ones(rows: tuple[int, ...], expected: list[int]) -> None:
    """Also where the newest are large enough for each other: two buffers may be sealed during one merge."""
    segment = Segment.of(0, {1: some_words(1)})
    sealed = tuple(
        replace(segment, first=place, last=place, contents=np.arange(count)) for place, count in enumerate(rows)
    )
    assert expected == [len(each.contents) for each in module._State(sealed).mergeable()]


def test_a_merge_of_removed_contents_leaves_nothing(directory: Path) -> None:
    """Compacting deletes all files if all contents are removed, and the index goes on with new ones."""
    with opened(directory, removed=tuple(range(1, KNOWN + 1))) as index:
        index.compact()
        assert not list(directory.iterdir())
        add(index, *range(KNOWN + 1, KNOWN + 9))
        wait_for_merges(index)
        assert set(range(KNOWN + 1, KNOWN + 9)) == found(index)
    with opened(directory) as index:
        assert set(range(KNOWN + 1, KNOWN + 9)) == found(index)


def test_compacting_beside_merges_keeps_each_content_once(directory: Path) -> None:
    """A merge chooses its segments when it begins: those of a merge in the queue may be gone by then."""
    with opened(directory, removed=(1, 2, 7)) as index:
        begun, go_on = threading.Event(), threading.Event()
        index._executor.submit(lambda: (begun.set(), go_on.wait(PATIENCE_S)))
        assert begun.wait(PATIENCE_S)
        compacting = threading.Thread(target=index.compact)
        compacting.start()
        wait_for(index._executor._work_queue.qsize)
        add(index, *range(KNOWN + 1, KNOWN + 9))  # starts a merge behind it
        go_on.set()
        compacting.join()
        wait_for_merges(index)
        assert [*range(3, 7), *range(8, KNOWN + 9)] == contents_of(index)


@pytest.mark.parametrize("damage", ["cut short", "other bytes", "no header", "empty"])
def test_a_damaged_file_is_deleted_and_its_contents_are_missing(directory: Path, damage: str) -> None:
    """They are to be read from the store once more; the other files count."""
    largest = max(directory.iterdir(), key=os.path.getsize)
    raw = largest.read_bytes()
    changed = {"cut short": raw[:-1], "other bytes": raw[:-9] + b"12345678" + raw[-1:], "no header": b"?" + raw[1:]}
    largest.write_bytes(changed.get(damage, b""))
    with opened(directory) as index:
        assert not largest.exists()
        missing = index.missing(range(1, KNOWN + 1))
        assert 0 < len(missing) <= KNOWN
        assert found(index).isdisjoint(missing)
        add(index, *missing)
        assert set(range(1, KNOWN + 1)) - {7} <= found(index)


def test_a_file_that_cannot_be_read_is_deleted(directory: Path) -> None:
    """As on a bad sector; here it is a link to itself."""
    largest = max(directory.iterdir(), key=os.path.getsize)
    largest.unlink()
    largest.symlink_to(largest)
    with opened(directory) as index:
        assert not largest.is_symlink()
        assert index.missing(range(1, KNOWN + 1))


def test_directories_are_passed_over(directory: Path) -> None:
    """Such as those that a NAS makes for its previews."""
    (directory / "@eaDir").mkdir()
    (directory / "900-901.words").mkdir()
    with opened(directory) as index:
        assert set(range(1, KNOWN + 1)) - {7} <= found(index)
    assert (directory / "@eaDir").is_dir()


def test_a_crash_after_a_merge_leaves_nothing_twice(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were merged, but not deleted any more, are deleted; so is one that was being written."""
    monkeypatch.setattr(segments, "delete", lambda _segment, _directory: None)
    with opened(directory) as index:
        add(index, *range(KNOWN + 1, 2 * KNOWN))
    (directory / "9-9.words.new").write_bytes(b"half")
    before = len(list(directory.iterdir()))
    with opened(directory) as index:
        assert before > len(list(directory.iterdir()))
        contents = [content for segment in index._state.sealed for content in segment.contents.tolist()]
        assert len(set(contents)) == len(contents)
        assert set(range(1, 2 * KNOWN)) - {7} <= found(index)


def test_nothing_is_lost_of_what_comes_before_it_is_loaded(directory: Path) -> None:
    """Pictures may land, and be removed, before the files of the last run were taken over."""
    with closing(WordIndex(str(directory))) as index:
        add(index, 3, *range(KNOWN + 1, KNOWN + 10))
        index.remove([5, KNOWN + 2])
        index.load([])
        assert set(range(1, KNOWN + 10)) - {5, 7, KNOWN + 2} == found(index) - {7}
        assert [3] == index.search(some_words(3), 50)[:1]
        assert 1 == index.search(some_words(3), 50).count(3)


def test_a_disk_that_takes_nothing_costs_no_content(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written is found all the same, and is missing at the next start."""
    with opened(directory) as index:
        whole, monkey = segments._write, monkeypatch.context()

        def fail(parts: list[segments.Segment], file: object) -> None:
            if isinstance(getattr(file, "name", 0), str):
                raise OSError(28, "No space left on device")
            whole(parts, file)  # type: ignore[arg-type]  # it is a file in memory

        with monkey as patch:
            patch.setattr(segments, "_write", fail)
            add(index, *range(KNOWN + 1, KNOWN + 10))
            assert set(range(KNOWN + 1, KNOWN + 10)) <= found(index)
            index._executor.shutdown()
    with opened(directory) as index:
        assert set(range(KNOWN + 1, KNOWN + 9)) <= set(index.missing(range(1, KNOWN + 10)))


def test_votes_are_the_same_to_the_last_bit_however_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are added up word by word, few all at once."""
    rows = {content: np.unique(some_words(content, 300) % 500).astype(np.uint16) for content in range(1, KNOWN)}
    segment = Segment.of(0, rows)
    words, weights = np.arange(0, 600, 3), np.random.default_rng(1).random(200)
    few = segment.votes(words, weights).tolist()
    monkeypatch.setattr(segments, "VOTES_AT_ONCE_MAX", 1)
    assert few == segment.votes(words, weights).tolist()
    assert min(few) > 0

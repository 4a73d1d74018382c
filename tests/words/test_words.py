from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from word_rows import contents_of

from shazimd.words import index as module
from shazimd.words.index import WordIndex


def some_words(seed: int, count: int = 60) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 65_536, count).astype(np.uint16)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[WordIndex]:
    with closing(WordIndex(str(tmp_path / "words"))) as made:
        made.load([])
        yield made


def fill(index: WordIndex, count: int) -> None:
    for content in range(1, count + 1):
        index.add([(content, some_words(content))])


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEAL_AT", 4)


def test_a_content_is_found_by_a_part_of_its_words(index: WordIndex) -> None:
    """A third of a content's words, among many others, brings it up first."""
    fill(index, 50)
    query = np.concatenate([some_words(7)[:20], some_words(999)])
    assert index.search(query, 5)[0] == 7


@given(st.lists(st.lists(st.integers(0, 65_535) | st.integers(0, 3), max_size=12), max_size=6))
@settings(deadline=None)
def test_words_that_come_together_are_those_that_come_alone(rows: list[list[int]]) -> None:
    """Each content has its words once, in order: also one without any, and those of different lengths."""
    words = [np.array(row, np.uint16) for row in rows]
    with tempfile.TemporaryDirectory() as folder, closing(WordIndex(folder)) as index:
        index.add(list(enumerate(words, 1)))
        assert [row.tolist() for row in index._state.buffer.values()] == [sorted(set(row)) for row in rows]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), max_size=40), st.integers(1, 12), st.integers(1, 9))
def test_the_largest_votes_are_the_first_of_all_in_order(votes: list[float], limit: int, block: int) -> None:
    """Equal votes stand in the order of their contents, whatever the size of blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = module._largest(np.array(votes), limit).tolist()
    expected = sorted((number for number, each in enumerate(votes) if each), key=lambda number: -votes[number])
    assert expected[:limit] == found


def test_a_mirror_image_is_found(index: WordIndex) -> None:
    """Words with swapped bytes are those of the mirror image."""
    fill(index, 50)
    assert index.search(some_words(7).byteswap(), 5)[0] == 7


def test_what_shares_no_word_is_not_found(index: WordIndex) -> None:
    """Only contents with votes come up, however many are asked for."""
    index.add([(1, np.array([1, 2], np.uint16)), (2, np.array([3, 5], np.uint16))])
    assert index.search(np.array([2], np.uint16), 10) == [1]
    assert index.search(np.array([7], np.uint16), 10) == []
    assert index.search(np.empty(0, np.uint16), 10) == []


def test_a_rare_word_counts_more_than_a_common_one(index: WordIndex) -> None:
    """Of two contents that share one word each, the one with the rarer word comes first."""
    index.add([(content, np.array([1, 100 + content], np.uint16)) for content in range(1, 20)])
    assert index.search(np.array([1, 119], np.uint16), 1) == [19]


def common_words(seed: int) -> NDArray[np.uint16]:
    """Few enough that any two contents share some."""
    return np.random.default_rng(seed).integers(0, 600, 60).astype(np.uint16)


@pytest.mark.parametrize("copies", [1, 15, 150, 600])
def test_only_what_stands_out_from_chance_is_found(index: WordIndex, copies: int) -> None:
    """Of hundreds that share words with the query by chance none is found, and of its copies, few or many, all."""
    index.add([(content, common_words(content)) for content in range(1, 601)])
    query = common_words(1_000)
    index.add([(content, query[content % 7 :]) for content in range(1_000, 1_000 + copies)])
    found = index.search(query, 2_000)
    assert set(range(1_000, 1_000 + copies)) <= set(found)
    assert 10 > len(found) - copies


def fill_with_forms(index: WordIndex) -> None:
    """The first 40 of 400 contents are filled forms of one blank."""
    for content in range(1, 401):
        blank = some_words(5_000, 20) if content <= 40 else some_words(6_000 + content, 20)
        index.add([(content, np.concatenate([blank, some_words(content, 40)]))])


def test_beside_the_picture_itself_others_are_as_likely_as_without_it(index: WordIndex) -> None:
    """A screenshot of one of 40 forms finds as many of these once it is stored as before."""
    fill_with_forms(index)
    screenshot = np.concatenate([some_words(5_000, 20), some_words(7, 40)[:4], some_words(9_999, 80)])
    before = index.search(screenshot, 60)
    index.add([(1_000, screenshot)])
    assert len(before) >= 40
    assert before[0] == 7
    assert index.search(screenshot, 60, without={1_000}) == before
    assert len(index.search(screenshot, 60)) < 40
    assert index.search(screenshot, 60, is_crowded=True, without={1_000})[: len(before)] == before


def test_in_a_crowd_those_are_found_too_that_chance_explains(index: WordIndex) -> None:
    """Two screenshots by one tool share the words of its window, beside which all 40 forms seem to share few."""
    fill_with_forms(index)
    window = some_words(8_888, 60)
    index.add([(1_000, window)])
    screenshot = np.concatenate([some_words(5_000, 20), some_words(7, 40)[:4], window])
    assert len(index.search(screenshot, 60)) < 40
    found = index.search(screenshot, 60, is_crowded=True)
    assert found[:2] == [1_000, 7]
    assert set(range(1, 41)) <= set(found)


def test_among_few_contents_chance_is_not_told(index: WordIndex) -> None:
    """All that share a word are found."""
    index.add([(content, common_words(content)) for content in range(1, 51)])
    assert set(range(1, 51)) == set(index.search(common_words(1_000), 100))


def test_limit_bounds_the_answer(index: WordIndex) -> None:
    """No more contents than asked for."""
    index.add([(content, np.array([1], np.uint16)) for content in range(1, 20)])
    assert index.search(np.array([1], np.uint16), 3) == [1, 2, 3]


@pytest.mark.usefixtures("small_segments")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=80))
def test_an_index_answers_for_the_contents_it_holds(steps: list[tuple[bool, int]]) -> None:
    """After any adds and removals, across sealing and merging, exactly the known contents are found, each by its words,
    as by an index that was filled at once."""
    known: set[int] = set()
    used: set[int] = set()
    with tempfile.TemporaryDirectory() as directory, closing(WordIndex(directory)) as index:
        index.load([])
        for add, content in steps:
            if add and content not in used:
                index.add([(content, some_words(content))])
                known.add(content)
                used.add(content)
            elif not add:
                index.remove([content])
                known.discard(content)
        assert sorted(known) == contents_of(index)
        for content in range(1, 31):
            assert (content in index) == (content in known)
            assert (content in index.search(some_words(content), 3)[:1]) == (content in known)


def test_an_empty_index_finds_nothing(index: WordIndex) -> None:
    """Searching an index without contents is fine."""
    assert index.search(some_words(1), 10) == []


def test_contents_that_are_not_admitted_take_no_place(index: WordIndex) -> None:
    """Of 600 contents that chance brings up and 200 better copies, the one that is admitted is found, far behind the
    limit; also one that does not stand out, among the best."""
    index.add([(content, common_words(content)) for content in range(1, 601)])
    query = common_words(1_000)
    index.add([(content, query) for content in range(1_000, 1_200)])
    index.add([(2_000, query[len(query) // 3 :])])
    assert 2_000 not in index.search(query, 60)
    assert index.search(query, 60, admits={2_000}.__contains__) == [2_000]
    likely = set(index.search(query, 1_000))
    chance = next(content for content in index.search(query, 400, is_crowded=True) if content not in likely)
    assert index.search(query, 60, admits={chance, 2_000}.__contains__) == [2_000, chance]
    assert index.search(query, 1, admits={chance, 2_000}.__contains__) == [2_000]
    assert index.search(query, 60, admits=lambda _: False) == []

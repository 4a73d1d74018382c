"""What every index promises, whatever its medium: the answer of comparing with every row."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_rows import Make, Row, brute_force, edited, kept, library, unit

from shazimd.fingerprint import Signals
from shazimd.text import HASHES, SIGNALS, all_weights
from shazimd.types import DEFAULT_WEIGHTS, Hit

WIDTH = 6

vectors = st.one_of(
    # Few values: many ties, equal and opposite vectors, zeros.
    st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0]), min_size=WIDTH, max_size=WIDTH),
    st.lists(st.floats(-1, 1, width=32), min_size=WIDTH, max_size=WIDTH),
).map(lambda values: unit(np.array(values)))
hashes = st.one_of(st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
signals = st.builds(Signals, st.tuples(*[st.none() | hashes] * len(HASHES)), st.none() | vectors)
one_weight = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0, 1e6))
weightings = st.tuples(*[one_weight] * len(SIGNALS)).filter(any)
thresholds = st.one_of(st.sampled_from([0.0, 0.5, 0.75, 1.0]), st.floats(0, 1))
ids = st.one_of(st.integers(1, 40), st.integers(1, 2**40))
library_and_limits: dict[str, st.SearchStrategy[Any]] = {
    "rows": st.dictionaries(ids, signals, max_size=30),
    "weights": weightings,
    "threshold": thresholds,
    "limit": st.none() | st.integers(0, 10),
}
given_anything = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given_anything
@given(queries=st.lists(signals, max_size=3), **library_and_limits)
def test_the_answer_is_that_of_comparing_with_every_row(
    make: Make,
    rows: dict[int, Signals],
    queries: list[Signals],
    weights: tuple[float, ...],
    threshold: float,
    limit: int | None,
) -> None:
    """The same rows, scores to the last bit, similarities and order, for any signals, weights, threshold and limit."""
    index = make()
    index.add(list(rows.items()))
    queries += list(rows.values())[:2]
    answer = index.search(queries, weights, threshold, limit)
    assert [brute_force(list(rows.items()), query, weights, threshold)[:limit] for query in queries] == answer


@given_anything
@given(
    upright=signals,
    turned=st.lists(st.tuples(*[hashes] * len(HASHES)), max_size=7),
    others=st.lists(signals, max_size=1),
    **library_and_limits,
)
def test_a_picture_in_several_orientations_is_found_by_the_best(
    make: Make,
    rows: dict[int, Signals],
    upright: Signals,
    turned: list[tuple[int, ...]],
    others: list[Signals],
    weights: tuple[float, ...],
    threshold: float,
    limit: int | None,
) -> None:
    """Each row once, as the best of its hits in a search with each orientation; of equal ones the first."""
    index = make()
    index.add(list(rows.items()))
    own = [
        tuple(None if has is None else bits for has, bits in zip(upright.hashes, each, strict=True)) for each in turned
    ]
    orientations = [upright, *(Signals(each, upright.fv) for each in own), *others]
    best: dict[int, Hit] = {}
    for each in orientations:
        for hit in brute_force(list(rows.items()), each, weights, threshold):
            if hit.content not in best or hit.score > best[hit.content].score:
                best[hit.content] = hit
    expected = sorted(best.values(), key=lambda hit: (-hit.score, hit.content))[:limit]
    assert expected == index.best_of(orientations, weights, threshold, limit)


@given_anything
@given(
    acts=st.lists(
        st.one_of(
            st.lists(st.tuples(st.integers(1, 12), signals), max_size=5),
            st.lists(st.integers(1, 12), max_size=4),
        ),
        max_size=10,
    ),
    query=signals,
)
def test_after_any_adding_replacing_and_removing_the_answer_is_exact(
    make: Make, acts: list[list[Row] | list[int]], query: Signals
) -> None:
    """Whatever was added, replaced and removed in whatever order, the index is what a dict would be."""
    index, known = make(), dict[int, Signals]()
    for act in acts:
        added = [one for one in act if isinstance(one, tuple)]
        removed = [one for one in act if isinstance(one, int)]
        index.add(added)
        index.remove(removed)
        known.update(added)
        known = {content: row for content, row in known.items() if content not in removed}
    assert len(known) == len(index)
    assert [content in known for content in range(1, 13)] == [content in index for content in range(1, 13)]
    assert [brute_force(list(known.items()), query, DEFAULT_WEIGHTS, 0.4)] == index.search(
        [query], DEFAULT_WEIGHTS, 0.4
    )


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("weights", [*map(all_weights, [(1, 1, 2), (0.5, 0.5, 3), (0, 0, 1), (1, 0, 0), (1, 2, 0)])])
def test_a_library_with_copies_is_searched_exactly(
    make: Make, weights: tuple[float, float, float], threshold: float
) -> None:
    """Among rows like photos, some of them copies, every search finds exactly what reaches the threshold."""
    rows, index = library(300), make()
    index.add(rows)
    random = np.random.default_rng(5)
    queries = [edited(random, row, 0.2) for _, row in rows[:3]]
    expected = [brute_force(rows, query, weights, threshold) for query in queries]
    assert expected == index.search(queries, weights, threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.75])
@pytest.mark.parametrize("limit", [0, 1, 20, 1000])
def test_the_best_few_are_the_best_of_all(make: Make, limit: int, threshold: float) -> None:
    """``limit`` gives the head of the full answer, even where the threshold lets everything through."""
    rows, index = library(400), make()
    index.add(rows)
    query = rows[10][1]
    expected = brute_force(rows, query, DEFAULT_WEIGHTS, threshold)[:limit]
    assert [expected] == index.search([query], DEFAULT_WEIGHTS, threshold, limit)


def test_equal_scores_come_in_the_order_of_their_ids(make: Make) -> None:
    """Rows that are the same tie exactly, and ties are broken by id, whatever the order they came in."""
    (_, same), *_ = library(1)
    index = make()
    index.add([(content, same) for content in (5, 3, 9, 1)])
    index.add([(3, same)])
    (hits,) = index.search([same], DEFAULT_WEIGHTS, 0.9)
    assert [hit.content for hit in hits] == [1, 3, 5, 9]


def test_a_score_at_the_threshold_is_found(make: Make) -> None:
    """score >= threshold, exactly: 3/4 of the bits equal is .75, found at .75 and not above."""
    index = make()
    index.add([(1, Signals(first_hashes(0xFFFF, None), None))])
    query = Signals(first_hashes(0, None), None)
    assert [hit.content for hit in index.search([query], DEFAULT_WEIGHTS, 0.75)[0]] == [1]
    assert index.search([query], DEFAULT_WEIGHTS, np.nextafter(0.75, 1)) == [[]]


@pytest.mark.parametrize("weights", [*map(all_weights, [(1, 1, 2), (0, 0, 1)])])
@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_pairs_are_all_pairs_once(make: Make, weights: tuple[float, float, float], threshold: float) -> None:
    """For each id in growing order, its hits among the smaller ids: what a search from each row says."""
    rows = [
        *library(80),
        (121, Signals(first_hashes(7, None), None)),
        (122, Signals(first_hashes(7, 9), None)),
        (123, Signals(first_hashes(None, None), None)),
    ]
    index = make()
    index.add(rows[::-1])
    expected = [
        (content, brute_force(rows[:place], kept(row), weights, threshold)) for place, (content, row) in enumerate(rows)
    ]
    assert expected == list(index.pairs(weights, threshold))


def test_pairs_go_on_after_the_last_id_seen(make: Make) -> None:
    """A self-join that was broken off and resumed tells each pair once."""
    rows, index = library(60), make()
    index.add(rows)
    whole = list(index.pairs(DEFAULT_WEIGHTS, 0.6))
    first = whole[:25]
    assert whole == first + list(index.pairs(DEFAULT_WEIGHTS, 0.6, after=first[-1][0]))


@pytest.mark.parametrize("weights", [(1.0, -1.0, 2.0), (0.0, 0.0, 0.0), (1.0, float("nan"), 1.0), (1e308, 1e308, 0)])
def test_weights_that_mean_nothing_are_refused(make: Make, weights: tuple[float, float, float]) -> None:
    """Negative, all zero, NaN or overflowing weights are an error that shows them, before any row is read."""
    with pytest.raises(ValueError, match=r"weights are \["):
        make().search([Signals(first_hashes(0, 0), None)], weights, 0.75)
    with pytest.raises(ValueError, match=r"weights are \["):
        list(make().pairs(weights, 0.75))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(make: Make, threshold: float) -> None:
    """The error names the threshold and the range."""
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        make().search([Signals(first_hashes(0, 0), None)], DEFAULT_WEIGHTS, threshold)


@pytest.mark.parametrize(
    ("fv", "said"),
    [
        (np.ones(5, np.float32) / 3, r"shape \[5\], expected \[24\]"),
        (np.full(24, np.nan, np.float32), "length nan"),
        (np.full(24, np.inf, np.float32), "length inf"),
        (np.ones(24, np.float32), "length 4.89898, expected 1"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_nothing_changes(
    make: Make, fv: np.ndarray[tuple[int], np.dtype[np.float32]], said: str
) -> None:
    """Another width, not finite or not of unit length: refused in rows (none of the batch is added) and queries."""
    index = make()
    index.add(library(3))
    with pytest.raises(ValueError, match=said):
        index.add([*library(5)[3:], (9, Signals(first_hashes(1, 1), fv))])
    with pytest.raises(ValueError, match=said):
        index.search([Signals(first_hashes(1, 1), fv)], DEFAULT_WEIGHTS, 0.75)
    assert (len(index), 9 in index) == (3, False)


def test_searches_beside_adds_and_removes_see_rows_whole(make: Make) -> None:
    """While rows come, go and are replaced, searches find each lasting row once, with its exact score."""
    rows, index = library(400), make()
    lasting, passing = rows[:100], rows[100:]
    index.add(lasting)
    query = lasting[0][1]
    expected = {hit.content: hit for hit in brute_force(rows, query, DEFAULT_WEIGHTS, 0.0)}
    started, done, wrong = threading.Barrier(3), threading.Event(), list[str]()

    def search() -> None:
        started.wait()
        while not done.is_set():
            (hits,) = index.search([query], DEFAULT_WEIGHTS, 0.0)
            if any(expected[hit.content] != hit for hit in hits):
                wrong.append("a score of no row")
            found = [hit.content for hit in hits if hit.content <= 100]
            if len(found) != len(set(found)) or len(found) != sum(content <= 100 for content in expected):
                wrong.append(f"{len(found)} of the lasting rows")

    searchers = [threading.Thread(target=search) for _ in range(2)]
    for searcher in searchers:
        searcher.start()
    started.wait()
    for start in range(0, 300, 10):
        index.add(passing[start : start + 10])
        index.add(lasting[start // 10 : start // 10 + 5])  # replaced by the same
        index.remove([content for content, _ in passing[start : start + 10 : 2]])
    done.set()
    for searcher in searchers:
        searcher.join()
    assert wrong == []
    assert len(index) == 250

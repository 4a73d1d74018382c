"""Local features that are not kept: searches wait for them, a link brings them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from shazimd.search.fetching import HELD_MAX, WantedFeatures

FOREVER_S = 3600.0
"""A wait that the time limit of a test would end."""
A, B = bytes(32), bytes([1]) * 32


def asked(wanted: WantedFeatures) -> list[bytes]:
    """The wanted contents as a link sees them, once a search waits."""
    return sorted(wanted.wanted(100, FOREVER_S))


@pytest.fixture
def link() -> WantedFeatures:
    """With a link that is there."""
    wanted = WantedFeatures()
    assert wanted.wanted(100) == []
    return wanted


def searched(pool: ThreadPoolExecutor, wanted: WantedFeatures, *digests: bytes) -> Future[dict[bytes, bytes]]:
    return pool.submit(wanted.get, digests, FOREVER_S)


def test_a_search_waits_for_the_link(link: WantedFeatures) -> None:
    """It gets what the link brings, and the next search gets it at once."""
    with ThreadPoolExecutor() as pool:
        search = searched(pool, link, A, B)
        assert asked(link) == [A, B]
        link.put({A: b"a"})
        assert link.wanted(100) == [B]
        link.put({B: b"b"})
        assert search.result() == {A: b"a", B: b"b"}
    assert link.get([A], 0) == {A: b"a"}
    assert link.wanted(100) == []


def test_two_searches_want_the_same(link: WantedFeatures) -> None:
    """Both get it, also where the database has none; that is not remembered."""
    with ThreadPoolExecutor() as pool:
        searches = [searched(pool, link, A), searched(pool, link, A)]
        while not all(search.done() for search in searches):
            link.put(dict.fromkeys(link.wanted(100), b""))
        assert [search.result() for search in searches] == [{A: b""}] * 2
    assert link.get([A], 0) == {}


def test_no_search_waits_without_a_link() -> None:
    """Nor after one that waited in vain, until the link asks again."""
    wanted = WantedFeatures()
    assert wanted.get([A], FOREVER_S) == {}
    wanted.wanted(100)
    assert wanted.get([A], 0.01) == {}
    assert wanted.get([A], FOREVER_S) == {}
    assert wanted.wanted(100) == []
    with ThreadPoolExecutor() as pool:
        search = searched(pool, wanted, A)
        assert asked(wanted) == [A]
        wanted.put({A: b"a"})
        assert search.result() == {A: b"a"}


def test_the_features_of_a_limited_number_are_held(link: WantedFeatures) -> None:
    """Those used last."""
    link.put({A: b"a", B: b"b"})
    link.get([A], 0)
    link.put({bytes([2, *number.to_bytes(31)]): b"x" for number in range(HELD_MAX - 1)})
    assert link.get([A, B], 0) == {A: b"a"}


def test_no_wait_outlasts_the_daemon(link: WantedFeatures) -> None:
    """Neither that of a link nor that of a search."""
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(link.wanted, 100, FOREVER_S)
        link.end_waits()
        assert waiting.result() == []
    assert link.get([A], FOREVER_S) == {}

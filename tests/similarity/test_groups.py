from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from shazimd.similarity.groups import group

contents = st.integers(1, 12)
pairs = st.dictionaries(
    st.tuples(contents, contents).map(lambda p: (min(p), max(p))).filter(lambda p: p[0] != p[1]), st.integers()
)


def rank(content: int) -> int:
    """Some contents rank alike."""
    return content % 3


@given(pairs)
def test_a_member_is_tied_to_its_representative_and_in_no_other_group(ties: dict[tuple[int, int], int]) -> None:
    """Nobody is in a group by way of another member."""
    groups = group(ties, rank)
    members = [content for one, others in groups.items() for content in (one, *others)]
    assert len(members) == len(set(members))
    for one, others in groups.items():
        for other, tie in others.items():
            assert tie == ties[min(one, other), max(one, other)]
            assert (rank(one), one) < (rank(other), other)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_in_which_ties_were_found_does_not_matter(
    ties: dict[tuple[int, int], int], order: random.Random
) -> None:
    """Groups are the same from run to run."""
    shuffled = list(ties.items())
    order.shuffle(shuffled)
    assert group(ties, rank) == group(dict(shuffled), rank)


@given(pairs)
def test_every_tie_between_two_free_contents_is_used(ties: dict[tuple[int, int], int]) -> None:
    """What is in no group is tied to grouped contents only."""
    groups = group(ties, rank)
    grouped = {content for one, others in groups.items() for content in (one, *others)}
    assert all(one in grouped or other in grouped for one, other in ties)


def test_a_chain_does_not_become_one_group() -> None:
    """1-2-3-4: 3 is no copy of 1, so it founds a group with 4."""
    assert {1: {2: "a"}, 3: {4: "c"}} == group({(1, 2): "a", (2, 3): "b", (3, 4): "c"}, lambda content: content)

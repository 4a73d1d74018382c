from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shazimd.search.groups import Group, group

Pairs = list[tuple[int, int, str]]

PAIRS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=60).map(
    lambda edges: [(a, b, f"{min(a, b)}-{max(a, b)}") for a, b in edges if a != b]
)


def rank(item: int) -> tuple[int, int]:
    """Multiples of 5 are worth more than others."""
    return (int(item % 5 == 0), item)


def size(item: int) -> int:
    return 10 + item % 3


def grouped(pairs: Pairs) -> list[Group[int, str]]:
    return group(pairs, rank, size)


@given(PAIRS)
def test_the_order_of_pairs_does_not_matter(pairs: Pairs) -> None:
    """The same pairs in another order, or turned round, make the same groups in the same order."""
    turned = [(b, a, tie) for a, b, tie in sorted(pairs)]
    assert grouped(turned) == grouped(pairs) == grouped(pairs[::-1])


@given(PAIRS)
def test_each_member_is_tied_to_its_representative(pairs: Pairs) -> None:
    """No chains: each member has a pair of its own with the representative, and carries that pair's tie."""
    known = {(a, b): tie for a, b, tie in pairs} | {(b, a): tie for a, b, tie in pairs}
    for each in grouped(pairs):
        assert [known[each.representative, member] for member, _ in each.members] == [tie for _, tie in each.members]


@given(PAIRS)
def test_nobody_is_in_two_groups_and_nobody_is_left_with_a_free_partner(pairs: Pairs) -> None:
    """Groups are disjoint, and of two partners at least one is in a group."""
    groups = grouped(pairs)
    everyone = [item for each in groups for item in (each.representative, *(member for member, _ in each.members))]
    assert len(everyone) == len(set(everyone))
    assert all(a in everyone or b in everyone for a, b, _ in pairs)


@given(PAIRS)
def test_what_is_kept_is_worth_most_and_groups_that_save_most_come_first(pairs: Pairs) -> None:
    """A representative outranks its members, and savings fall from group to group."""
    groups = grouped(pairs)
    for each in groups:
        assert all(rank(each.representative) > rank(member) for member, _ in each.members)
        assert each.saving == sum(size(member) for member, _ in each.members) > 0
    assert all(a.saving >= b.saving for a, b in pairwise(groups))


def test_a_chain_is_not_one_group() -> None:
    """9-8, 8-7 and 7-6 are two groups of two, not one of four."""
    found = grouped([(9, 8, "a"), (8, 7, "b"), (7, 6, "c")])
    assert {(g.representative, g.members) for g in found} == {(9, ((8, "a"),)), (7, ((6, "c"),))}

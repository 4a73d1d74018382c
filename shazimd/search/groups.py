"""Groups of duplicates from pairs, without chaining.

Joining whatever is linked makes mega-groups: a crop of a collage ties two pictures that have nothing in common. Here
each member of a group is tied to the group's *representative* by a pair of its own. Representatives are chosen by
how much is worth keeping, the best first, so the result depends on the pairs alone, not on their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
Tie = TypeVar("Tie")


@dataclass(frozen=True, slots=True)
class Group(Generic[T, Tie]):
    representative: T
    members: tuple[tuple[T, Tie], ...]
    """the others, each with what ties it to the representative; best first"""
    saving: int
    """bytes that are freed when only the representative is kept"""


def group(
    pairs: Iterable[tuple[T, T, Tie]], rank: Callable[[T], tuple[float, ...]], size: Callable[[T], int]
) -> list[Group[T, Tie]]:
    """Groups of at least two, the largest saving first; nobody is in two groups.

    ``rank`` says what is kept rather (the larger, such as pixels then bytes); it must tell any two items apart for
    the answer not to depend on the order of the pairs. Each item in turn, best first, represents all of its partners
    that are still free. ``size`` is what removing an item saves, in bytes. The last tie of a pair counts."""
    ties: defaultdict[T, dict[T, Tie]] = defaultdict(dict)
    for a, b, tie in pairs:
        ties[a][b] = ties[b][a] = tie
    taken: set[T] = set()
    groups = []
    for item in sorted(ties, key=rank, reverse=True):
        free = {other for other in ties[item] if other not in taken} - {item}
        if item in taken or not free:
            continue
        members = sorted(free, key=rank, reverse=True)
        taken.update(members, (item,))
        groups.append(Group(item, tuple((m, ties[item][m]) for m in members), sum(map(size, members))))
    return sorted(groups, key=lambda g: (-g.saving, *(-value for value in rank(g.representative))))

"""Groups of duplicates from pairs, without chaining.

Connected components make mega-groups: a crop of a collage connects two pictures with nothing in common. Here each
member of a group has a pair of its own with the group's *representative*. Items become representatives by rank, best
first: the result depends on the pairs alone, not on their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Group(Generic[T, R]):
    representative: T
    members: tuple[tuple[T, R], ...]
    """the other items, each with its relation to the representative; best first"""
    saving: int
    """bytes freed by keeping only the representative"""


def group(
    pairs: Iterable[tuple[T, T, R]], rank: Callable[[T], tuple[Any, ...]], size: Callable[[T], int]
) -> list[Group[T, R]]:
    """Disjoint groups of at least two, the largest saving first. Each item in turn, best rank first, represents all of
    its partners without a group.

    ``rank`` must differ between any two items. ``size`` is the bytes freed by removing an item. The last relation of a
    pair counts."""
    relations: defaultdict[T, dict[T, R]] = defaultdict(dict)
    for a, b, relation in pairs:
        relations[a][b] = relations[b][a] = relation
    taken: set[T] = set()
    groups = []
    for item in sorted(relations, key=rank, reverse=True):
        free = {other for other in relations[item] if other not in taken} - {item}
        if item in taken or not free:
            continue
        members = sorted(free, key=rank, reverse=True)
        taken.update(members, (item,))
        groups.append(Group(item, tuple((m, relations[item][m]) for m in members), sum(map(size, members))))
    return sorted(groups, key=lambda g: -g.saving)  # stable: equal savings stay in the order of rank

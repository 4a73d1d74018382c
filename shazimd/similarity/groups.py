"""Groups of duplicates, each around one representative.

Ties are not transitive: a may be a copy of b, and b of c, where a and c show nothing in common (two halves of b). So a
member belongs to a group by a tie to the representative itself, never by way of another member, and no group can grow
by chaining (``dupeGuru``'s FAQ calls what that leaves out "discarded"; here it may found a group of its own).

The representatives are chosen greedily in one fixed order, best to keep first: the groups depend on what there is,
not on the order in which ties were found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from shazimd.types import ContentId

Tie = TypeVar("Tie")


def group(
    ties: Mapping[tuple[ContentId, ContentId], Tie], rank: Callable[[ContentId], Any]
) -> dict[ContentId, dict[ContentId, Tie]]:
    """Members by representative, each with its tie to it, in the order of ``rank`` (smallest is best to keep).

    Every content is in at most one group; every group has at least one member besides its representative."""
    neighbours: dict[ContentId, dict[ContentId, Tie]] = defaultdict(dict)
    for (one, other), tie in ties.items():
        neighbours[one][other] = tie
        neighbours[other][one] = tie

    def ordered(contents: Iterable[ContentId]) -> list[ContentId]:
        return sorted(contents, key=lambda content: (rank(content), content))

    free = set(neighbours)
    groups: dict[ContentId, dict[ContentId, Tie]] = {}
    for representative in ordered(neighbours):
        members = ordered(neighbours[representative].keys() & free) if representative in free else []
        if members:
            groups[representative] = {member: neighbours[representative][member] for member in members}
            free.difference_update(members, [representative])
    return groups

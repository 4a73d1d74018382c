"""Decisions of persons, by the store's numbers of the contents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set

from shazimd.store.base import Reader
from shazimd.types import ContentId, DecisionKind


class Silences:
    """All decisions at one moment, about known contents."""

    def __init__(self, reader: Reader) -> None:
        self.left: set[ContentId] = set()
        """contents whose files are all to stay"""
        self.chosen: set[ContentId] = set()
        """contents that a person decided to keep"""
        self.places: dict[ContentId, bytes] = {}
        """the file to keep of a chosen content, where a person named it"""
        self._apart: defaultdict[ContentId, set[int]] = defaultdict(set)
        self._settled: defaultdict[ContentId, list[tuple[int, Set[ContentId]]]] = defaultdict(list)
        for number, decision in reader.decisions.all():
            known = {content for digest in decision.contents if (content := reader.content(digest)) is not None}
            for content in known:
                if decision.kind is DecisionKind.KEEP:
                    self._settled[content].append((number, known))
                else:
                    self._apart[content].add(number)
            if decision.kind is DecisionKind.LEAVE:
                self.left |= known
            if decision.keep is not None and (kept := reader.content(decision.keep)) is not None:
                self.chosen.add(kept)
                if decision.keep_path:  # a later one that names no file leaves the choice
                    self.places[kept] = decision.keep_path

    def __bool__(self) -> bool:
        """Whether any contents are held apart."""
        return bool(self._apart)

    def apart(self, a: ContentId, b: ContentId) -> bool:
        """Whether two contents are no longer reported as duplicates of each other."""
        return not self._apart.get(a, _NONE).isdisjoint(self._apart.get(b, _NONE))

    def settled(self, contents: Iterable[ContentId]) -> int | None:
        """The latest decision that names the content to keep among all of these; None without one."""
        all_of = set(contents)
        numbers = [number for number, known in self._settled.get(min(all_of), ()) if all_of <= known]
        return max(numbers, default=None)


_NONE: frozenset[int] = frozenset()

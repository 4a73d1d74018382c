"""Groups of duplicates among all known files, as pages and as a stream.

The relations between contents are rows of the store: alerts write them, and ``ingest.relate`` finds the others in the
background. A listing of all groups is made from them once, and follows the changes of the store. Without verification
there are no relations, and the score alone makes pairs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from typing import NamedTuple

from shazimd.search.join import scored_pairs
from shazimd.search.keep import KeepRules
from shazimd.search.library import Library
from shazimd.search.listing import Edge, GroupRows, GroupSummary, connected, list_groups, order
from shazimd.search.members import GroupMembers, members_of
from shazimd.search.silence import Silences
from shazimd.store.base import Reader
from shazimd.types import ContentId, Digest, Verdict, Weights, check_threshold, check_weights

STALE_FACTOR = 10.0
STALE_FROM_S = 0.2
"""While so much changes that a listing can't follow, one that took long to make is used for this multiple of that time;
a short one is made anew at each change. Processor time: a busy machine must not make it stale."""
CONNECTED_MAX = 2000
"""Contents that are grouped anew with those that changed: a tenth of a second at most."""

GIVEN_EVERY_S = 1.0
"""The server notices a closed connection only when it writes."""


class Scoring(NamedTuple):
    """Weights of the scores in answers; the threshold makes pairs where geometry does not."""

    weights: Weights
    threshold: float


class GroupFilter(NamedTuple):
    """Conditions for a group to be listed."""

    under: bytes | None = None
    """a directory with some file of the group"""
    verdict: Verdict | None = None
    """some file relates to the first one like this: EXACT or COPY"""
    decided: bool | None = False
    """whether a person decided which file to keep; None: either"""
    since_ns: int | None = None
    """some file was modified then or later"""
    until_ns: int | None = None
    """and that file before"""


class GroupPage(NamedTuple):
    groups: list[GroupMembers]
    after: tuple[int, ContentId] | None
    """where the next page begins; None after the last"""
    total: int
    """groups that pass the filter"""
    saves_bytes: int


class _AllGroups(NamedTuple):
    changes: int
    """number of the writes to the store before the rows were read"""
    rules: KeepRules
    scoring: Scoring | None
    groups: list[GroupSummary]
    made: float
    took_s: float


class Duplicates:
    def __init__(self, library: Library, *, verified: bool) -> None:
        """``verified``: pairs are relations of the store, else pairs of a score."""
        self._library = library
        self._verified = verified
        self._making = threading.Lock()
        self._listing: _AllGroups | None = None

    def page(
        self,
        rules: KeepRules,
        scoring: Scoring,
        wanted: GroupFilter,
        after: tuple[int, ContentId] | None,
        limit: int,
    ) -> GroupPage:
        """``limit`` groups of those that pass a filter, largest saving first. Raises ValueError for invalid scoring."""
        groups = self._filtered(self._groups(rules, scoring), wanted)
        rest = (each for each in groups if after is None or order(each) > after)
        found = list(islice(self._members(rest, rules, scoring), limit + 1))
        more = found[limit - 1][0] if len(found) > limit else None
        shown = [members for _, members in found[:limit]]
        return GroupPage(shown, order(more) if more else None, len(groups), sum(each.saves_bytes for each in groups))

    def group(self, rules: KeepRules, scoring: Scoring, centre: Digest) -> GroupMembers | None:
        """The group with this id."""
        with self._library.store.read() as reader:
            content = reader.content(centre)
        some = (each for each in self._groups(rules, scoring) if each.centre == content)
        return next((members for _, members in self._members(some, rules, scoring)), None)

    def groups(self, rules: KeepRules, scoring: Scoring) -> Iterator[GroupMembers | None]:
        """Every group, decided or not, largest saving first. Raises ValueError for invalid scoring.

        Without verification, pairs by score may take minutes: until then None is given now and then, and closing the
        iterator stops the work."""
        check_weights(scoring.weights)
        check_threshold(scoring.threshold)
        return self._stream(rules, scoring)

    def _stream(self, rules: KeepRules, scoring: Scoring) -> Iterator[GroupMembers | None]:
        if self._verified:
            groups = self._groups(rules, scoring)
        else:
            edges: list[Edge] = []
            for some in self._by_score(scoring):
                edges += some
                yield None
            groups = self._listed(rules, scoring, edges).groups
        yield from (members for _, members in self._members(iter(groups), rules, scoring))

    def count(self, rules: KeepRules, scoring: Scoring) -> int:
        """The number of groups, decided or not."""
        return len(self._groups(rules, scoring))

    def prepare(self, rules: KeepRules, scoring: Scoring) -> None:
        """List all groups before anyone asks, unless they were listed. Does nothing without verification, where that is
        a search of minutes."""
        if self._verified and self._listing is None:
            self._groups(rules, scoring)

    def settle(self, digests: Iterable[Digest]) -> None:
        """Group these contents anew, after a decision about them, with those of their groups; other groups stay."""
        with self._making:
            if self._listing is None or self._listing.scoring is not None:
                self._listing = None
                return
            with self._library.store.read() as reader:
                decided = {content for digest in digests if (content := reader.content(digest)) is not None}
            self._listing = self._regrouped(self._listing, decided)

    def _members(
        self, groups: Iterator[GroupSummary], rules: KeepRules, scoring: Scoring
    ) -> Iterator[tuple[GroupSummary, GroupMembers]]:
        """Groups with their files; a transaction for each, since a reader may be slow."""
        with self._library.store.read() as reader:
            silences = Silences(reader)
        for summary in groups:
            with self._library.store.read() as reader:
                found = members_of(reader, summary, rules, silences, self._library.model_id, scoring.weights)
            if found is not None:
                yield summary, found

    def _groups(self, rules: KeepRules, scoring: Scoring) -> list[GroupSummary]:
        check_weights(scoring.weights)
        check_threshold(scoring.threshold)
        key = None if self._verified else scoring
        with self._making:
            known = self._listing
            if known is not None and (known.rules, known.scoring) == (rules, key):
                known = self._followed(known)
            else:
                known = None
            if known is None:
                edges = None if self._verified else [edge for some in self._by_score(scoring) for edge in some]
                known = self._listed(rules, scoring, edges)
            self._listing = known
        return known.groups

    def _followed(self, listing: _AllGroups) -> _AllGroups | None:
        """A listing with the changes since it was made; None if all groups are to be listed anew."""
        number, contents = self._library.store.group_changes.since(listing.changes)
        if number == listing.changes:
            return listing
        if self._verified and contents is not None:
            regrouped = self._regrouped(listing, contents)
            if regrouped is not None:
                return regrouped._replace(changes=number)
        is_young = time.monotonic() - listing.made < STALE_FACTOR * listing.took_s
        return listing if listing.took_s >= STALE_FROM_S and is_young else None

    def _regrouped(self, listing: _AllGroups, contents: Set[ContentId]) -> _AllGroups | None:
        """A listing with these contents grouped anew, and all that is connected with them; None if that is too much."""
        affected = [group for group in listing.groups if not contents.isdisjoint(group.contents)]
        with self._library.store.read() as reader:
            joined = connected(
                reader, {*contents, *(each for group in affected for each in group.contents)}, CONNECTED_MAX
            )
            if joined is None:
                return None
            again = list_groups(reader, GroupRows.of_some(reader, joined), listing.rules)
        left = [group for group in listing.groups if joined.isdisjoint(group.contents)]
        return listing._replace(groups=sorted(left + again, key=order))

    def _listed(self, rules: KeepRules, scoring: Scoring, edges: list[Edge] | None) -> _AllGroups:
        """A listing by relations, or by these pairs."""
        started = time.thread_time()
        changes = self._library.store.group_changes.since(0).number  # before the snapshot, which may be newer
        with self._library.store.read() as reader:
            groups = list_groups(reader, GroupRows.of_all(reader, edges), rules)
        took_s = time.thread_time() - started
        return _AllGroups(changes, rules, None if edges is None else scoring, groups, time.monotonic(), took_s)

    def _by_score(self, scoring: Scoring) -> Iterator[list[Edge]]:
        """The pairs of a second or more."""
        edges: list[Edge] = []
        given = time.monotonic()
        for content, hits in scored_pairs(self._library, scoring.weights, scoring.threshold):
            edges += (Edge(content, hit.content, None) for hit in hits)
            if time.monotonic() - given >= GIVEN_EVERY_S:
                yield edges
                edges, given = [], time.monotonic()
        yield edges

    def _filtered(self, groups: list[GroupSummary], wanted: GroupFilter) -> list[GroupSummary]:
        below = None
        if wanted.under is not None:
            with self._library.store.read() as reader:
                below = _contents_below(reader, wanted.under)
        passing = [
            each
            for each in groups
            if (wanted.decided is None or wanted.decided == (each.decision is not None))
            and (wanted.verdict is not Verdict.EXACT or each.exact)
            and (wanted.verdict is not Verdict.COPY or len(each.pictures) > 1)
            and (below is None or any(content in below for content in each.contents))
        ]
        if wanted.since_ns is None and wanted.until_ns is None:
            return passing
        with self._library.store.read() as reader:
            return [each for each in passing if _has_file_of_time(reader, each, wanted)]


def _has_file_of_time(reader: Reader, group: GroupSummary, wanted: GroupFilter) -> bool:
    since, until = wanted.since_ns or 0, wanted.until_ns
    rows = (row for content in group.contents for _, row in reader.relations.rows(content))
    return any(since <= row.stat.mtime_ns and (until is None or row.stat.mtime_ns < until) for row in rows)


def _contents_below(reader: Reader, directory: bytes) -> set[ContentId]:
    return {row.content for _, row in reader.walk(directory) if row.content is not None}

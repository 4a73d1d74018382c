"""The groups of duplicates, in short, from the relations and files in the store.

Contents with equal pixels are one *picture*. Pictures are grouped by the relations between them (see ``groups``), and
by several files of one picture. A pass reads all relations and a row for each content, and keeps only what is grouped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from itertools import groupby
from typing import NamedTuple, TypeAlias

from shazimd.fingerprint import Appearance
from shazimd.search.groups import group
from shazimd.search.keep import NO_FACTS, KeepFacts, KeepRules
from shazimd.search.silence import Silences
from shazimd.store.base import Reader
from shazimd.types import ContentId, Evidence, FileRow, PictureFacts, Verdict

Rank: TypeAlias = tuple[float | str | bytes, ...]
PictureId: TypeAlias = ContentId
"""The smallest content of a picture."""
Pair: TypeAlias = tuple[PictureId, PictureId]


class Edge(NamedTuple):
    """Two contents, one a copy of the other."""

    asked: ContentId
    known: ContentId
    evidence: Evidence | None


class GroupSummary(NamedTuple):
    """A group without its files."""

    saves_bytes: int
    """by keeping a single file"""
    pictures: tuple[tuple[ContentId, ...], ...]
    """the contents of each picture; the first picture is related to all others"""
    exact: bool
    """whether some picture has several files"""
    decision: int | None
    """number of the decision that names the content to keep"""

    @property
    def centre(self) -> ContentId:
        return self.pictures[0][0]

    @property
    def contents(self) -> list[ContentId]:
        return [content for picture in self.pictures for content in picture]


class _PictureFiles(NamedTuple):
    """A picture's files: their number, without other names of one file, their bytes, and those of the best."""

    files: int
    size_bytes: int
    best_bytes: int
    rank: Rank


class GroupRows(NamedTuple):
    """The rows that groups are made from; each is read once."""

    edges: Iterable[Edge]
    twins: Iterable[list[ContentId]]
    """contents with equal pixels"""
    held_twice: Iterable[ContentId]
    """contents with several files"""

    @classmethod
    def of_all(cls, reader: Reader, edges: Iterable[Edge] | None = None) -> GroupRows:
        """The rows of all contents; ``edges`` in place of the relations."""
        r = reader.relations
        return cls((Edge(*each) for each in r.copies()) if edges is None else edges, r.twins(), r.held_twice())

    @classmethod
    def of_some(cls, reader: Reader, contents: Set[ContentId]) -> GroupRows:
        """The rows of some contents alone; some may have been removed."""
        twins = {tuple(each for each in reader.twins(content) if each in contents) for content in contents}
        several = [content for content in contents if reader.count_files(content, 2) > 1]
        return cls(_edges_among(reader, contents), [[*each] for each in twins if len(each) > 1], several)


def connected(reader: Reader, contents: Iterable[ContentId], limit: int) -> set[ContentId] | None:
    """These contents and all that copies and equal pixels connect with them; None for more than ``limit``.

    Groups are made within connected contents: those of others stay as they are."""
    found = set(contents)
    waiting = list(found)
    while waiting and len(found) <= limit:
        beside = _beside(reader, waiting.pop()) - found
        found |= beside
        waiting += beside
    return found if len(found) <= limit else None


def _beside(reader: Reader, content: ContentId) -> set[ContentId]:
    """The copies of a content, and those of equal pixels."""
    return {*reader.twins(content), *(partner for partner, _ in reader.relations.copies_of(content))}


def _edges_among(reader: Reader, contents: Set[ContentId]) -> Iterator[Edge]:
    for a in contents:
        for b in reader.relations.partners(a):
            relation = reader.relations.between(a, b) if a < b and b in contents else None
            if relation is not None and relation.verification.verdict is Verdict.COPY:
                yield Edge(relation.asked, relation.known, relation.evidence)


def list_groups(reader: Reader, rows: GroupRows, rules: KeepRules) -> list[GroupSummary]:
    """The groups, largest saving first; the same for the same rows."""
    silences = Silences(reader)
    pictures = _Pictures(rows, silences)
    pairs, signs = _pairs(rows.edges, pictures, silences)
    alone = set(pictures.several())
    summaries = []
    for connected_pairs in _components(pairs):
        paired = {each for pair in connected_pairs for each in pair}
        alone -= paired
        summaries += _grouped(reader, connected_pairs, paired, pictures, signs, rules, silences)
    for picture in alone:
        summaries += _grouped(reader, (), {picture}, pictures, signs, rules, silences)
    return sorted(summaries, key=order)


def _grouped(
    reader: Reader,
    pairs: Collection[Pair],
    connected: Set[PictureId],
    pictures: _Pictures,
    signs: Mapping[PictureId, int],
    rules: KeepRules,
    silences: Silences,
) -> list[GroupSummary]:
    """The groups of connected pictures, or of one alone; all at once would take a kilobyte a picture until the end."""
    held: dict[PictureId, _PictureFiles] = {}
    for picture in connected:
        contents = pictures.contents(picture)
        ranking = rules if pairs or len(contents) > 1 else None
        found = _held(reader, contents, silences, rules.need_paths, ranking, signs.get(picture, 0))
        if found is not None:
            held[picture] = found
    among = [(a, b, None) for a, b in pairs if a in held and b in held]
    near = group(among, lambda p: (held[p].rank, -p), lambda p: held[p].size_bytes)
    grouped = [(each.representative, *(member for member, _ in each.members)) for each in near]
    taken = {picture for each in grouped for picture in each}
    grouped += [(picture,) for picture in held.keys() - taken if held[picture].files > 1]
    return [_summary(each, pictures, held, silences) for each in grouped]


def _components(pairs: Collection[Pair]) -> Iterator[list[Pair]]:
    """The pairs of each connected component."""
    above: dict[PictureId, PictureId] = {}

    def top(picture: PictureId) -> PictureId:
        while (parent := above.get(picture, picture)) != picture:
            above[picture] = picture = above.get(parent, parent)
        return picture

    for a, b in pairs:
        one, other = top(a), top(b)
        above[max(one, other)] = min(one, other)
    together = sorted(pairs, key=lambda pair: top(pair[0]))
    return (list(some) for _, some in groupby(together, key=lambda pair: top(pair[0])))


def order(summary: GroupSummary) -> tuple[int, ContentId]:
    """The sort key of groups, different for any two."""
    return -summary.saves_bytes, summary.centre


def _summary(
    group: tuple[PictureId, ...], pictures: _Pictures, held: dict[PictureId, _PictureFiles], silences: Silences
) -> GroupSummary:
    classes = tuple(tuple(pictures.contents(picture)) for picture in group)
    return GroupSummary(
        sum(held[picture].size_bytes for picture in group) - held[group[0]].best_bytes,
        classes,
        any(held[picture].files > 1 for picture in group),
        silences.settled(content for contents in classes for content in contents),
    )


class _Pictures:
    """The contents of each picture, for pictures of several contents or several files."""

    def __init__(self, rows: GroupRows, silences: Silences) -> None:
        self._of: dict[ContentId, PictureId] = {}
        self._contents: dict[PictureId, list[ContentId]] = {}
        for twins in rows.twins:
            for same in _split(twins, silences):
                self._contents[same[0]] = same
                self._of.update(dict.fromkeys(same, same[0]))
        for content in rows.held_twice:
            self._contents.setdefault(self.picture(content), [content])

    def picture(self, content: ContentId) -> PictureId:
        return self._of.get(content, content)

    def contents(self, picture: PictureId) -> list[ContentId]:
        return self._contents.get(picture, [picture])

    def several(self) -> Set[PictureId]:
        """Pictures that may have several files."""
        return self._contents.keys()


def _split(contents: list[ContentId], silences: Silences) -> Iterator[list[ContentId]]:
    """The contents in lists, none with two that a person holds apart; lists of one are left out."""
    lists: list[list[ContentId]] = []
    for content in contents:
        fitting = (each for each in lists if not any(silences.apart(content, other) for other in each))
        found = next(fitting, None)
        if found is None:
            lists.append([content])
        else:
            found.append(content)
    return (each for each in lists if len(each) > 1)


def _are_apart(some: list[ContentId], others: list[ContentId], silences: Silences) -> bool:
    return any(silences.apart(a, b) for a in some for b in others)


def _pairs(edges: Iterable[Edge], pictures: _Pictures, silences: Silences) -> tuple[set[Pair], dict[PictureId, int]]:
    """(pairs of related pictures, number of signs that a picture was made from another)"""
    pairs: set[Pair] = set()
    signs: defaultdict[PictureId, int] = defaultdict(int)
    for asked, known, evidence in edges:
        a, b = pictures.picture(asked), pictures.picture(known)
        if a == b or (silences and _are_apart(pictures.contents(a), pictures.contents(b), silences)):
            continue
        pairs.add((min(a, b), max(a, b)))
        if evidence is not None:
            signs[a] += len(evidence.asked)
            signs[b] += len(evidence.known)
    return pairs, signs


def _held(
    reader: Reader, contents: list[ContentId], silences: Silences, with_paths: bool, rules: KeepRules | None, signs: int
) -> _PictureFiles | None:
    """None for a picture without files. Without rules the rank is empty: there is nothing to choose from."""
    total = number = 0
    best: tuple[Rank, int] | None = None
    for content in contents:
        files = distinct_files(reader, content, with_paths=with_paths)
        if not files:
            continue
        if content in silences.left:
            files = files[:1]
        size = files[0][1].stat.size
        number += len(files)
        total += size * len(files)
        rank = _rank(reader, content, files, silences, rules, signs) if rules else ()
        if best is None or rank > best[0]:
            best = rank, size
    return None if best is None else _PictureFiles(number, total, best[1], best[0])


def _rank(
    reader: Reader,
    content: ContentId,
    files: list[tuple[bytes, FileRow]],
    silences: Silences,
    rules: KeepRules,
    signs: int,
) -> Rank:
    """The rank of the content's best file."""
    facts, seen, chosen = reader.relations.facts(content), reader.appearance(content), content in silences.chosen
    return max(rules.rank(keep_facts(path, row, seen, facts, rules, chosen, signs)) for path, row in files)


def distinct_files(reader: Reader, content: ContentId, *, with_paths: bool = True) -> list[tuple[bytes, FileRow]]:
    """The files of a content, each once, under the first of its names; a name alone without ``with_paths``."""
    return [(names[0], row) for names, row in named_files(reader, content, with_paths=with_paths)]


def named_files(reader: Reader, content: ContentId, *, with_paths: bool = True) -> list[tuple[list[bytes], FileRow]]:
    """The files of a content, each with all its names: hard links, bind mounts, roots that are links into others.

    Names of one file have one inode and, to the nanosecond, one time of its last change."""
    if with_paths:
        rows = [(path, row) for path in reader.files_of(content) if (row := reader.file(path)) is not None]
    else:
        rows = list(reader.relations.rows(content))
    files: dict[tuple[int, int, int], tuple[list[bytes], FileRow]] = {}
    for path, row in rows:
        key = row.stat.inode, row.stat.ctime_ns, row.stat.mtime_ns
        files.setdefault(key, ([], row))[0].append(path)
    return list(files.values())


def keep_facts(
    path: bytes,
    row: FileRow,
    seen: Appearance,
    facts: PictureFacts | None,
    rules: KeepRules,
    chosen: bool,
    signs: int = 0,
    proof: str = "",
) -> KeepFacts:
    """The facts by which the file to keep is chosen."""
    return KeepFacts(
        path,
        row.stat.mtime_ns,
        seen.width,
        seen.height,
        facts or NO_FACTS,
        damaged=seen.damaged,
        reference=rules.is_reference(path),
        chosen=chosen,
        made_from=signs,
        proof=proof,
    )

"""Groups of duplicates from the rows of a store: relations, equal pixels, several files, decisions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from first_hashes import first_hashes

from benchmarks.filling import put_picture, relate
from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.flat import FlatIndex
from shazimd.search import duplicates
from shazimd.search.duplicates import Duplicates, GroupFilter, Scoring
from shazimd.search.keep import KeepRules
from shazimd.search.library import Library
from shazimd.search.listing import GroupRows
from shazimd.search.members import GroupMembers
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import (
    DEFAULT_WEIGHTS,
    ContentId,
    DecisionKind,
    Evidence,
    FileRow,
    FileState,
    PictureFacts,
    Stat,
    UserDecision,
    Verdict,
)

SCORING = Scoring(DEFAULT_WEIGHTS, 0.75)
RULES = KeepRules.of((), ())
ALL = GroupFilter(decided=None)


class Shelf:
    """A store whose contents are named by a letter; the digest is the letter, 32 times."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.duplicates = Duplicates(library, verified=True)
        self._inode = 0

    def put(
        self, name: str, *paths: str, pixels: str = "", size: int = 100, width: int = 100, mtime_ns: int = 1
    ) -> None:
        """A content with files; under a path ``a=b`` the file b gets the name a, too."""

        files = {}
        for path in paths:
            self._inode += 1
            files.update({each.encode(): Stat(size, mtime_ns, self._inode, 1) for each in path.split("=")})
        same = pixels.encode() * 32 if pixels else None
        self.library.store.write(lambda writer: put_picture(writer, digest(name), files, (width, width), same))

    def relate(self, asked: str, known: str, verdict: Verdict = Verdict.COPY, evidence: Evidence | None = None) -> None:
        pair = self.content(asked), self.content(known)
        self.library.store.write(lambda writer: relate(writer, *pair, verdict, evidence=evidence))

    def decide(self, kind: DecisionKind, names: str, keep: str = "", path: str = "") -> None:
        contents = tuple(digest(name) for name in names)
        made = UserDecision(kind, contents, digest(keep) if keep else None, keep_path=path.encode())
        self.library.store.write(lambda writer: writer.decisions.add(made))
        self.duplicates.settle(made.contents)

    def undo(self, number: int) -> None:
        undone = self.library.store.write(lambda writer: writer.decisions.remove(number))
        assert undone is not None
        self.duplicates.settle(undone.contents)

    def content(self, name: str) -> ContentId:
        with self.library.store.read() as reader:
            found = reader.content(digest(name))
        assert found is not None
        return found

    def page(self, wanted: GroupFilter = ALL, limit: int = 100, rules: KeepRules = RULES) -> list[GroupMembers]:
        return self.duplicates.page(rules, SCORING, wanted, None, limit).groups

    def paths(self, wanted: GroupFilter = ALL) -> list[list[str]]:
        return [[member.path.decode() for member in group.members] for group in self.page(wanted)]


def digest(name: str) -> bytes:
    return name.encode() * 32


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with (
        closing(open_store(str(tmp_path / "store"), 1 << 26)) as store,
        closing(Library(store, lambda _store, _model: FlatIndex())) as library,
    ):
        yield Shelf(library)


def test_a_group_whose_centre_lost_its_file_meanwhile_is_left_out(shelf: Shelf) -> None:
    """Its content stays known for a while, and the others are related to it alone."""
    for name in "abc":
        shelf.put(name, f"/{name}", width=200 if name == "a" else 100)
    shelf.relate("b", "a")
    shelf.relate("c", "a")
    shelf.put("d", "/d1", "/d2", size=1000)
    groups = shelf.duplicates.groups(RULES, SCORING)
    first = next(groups)
    assert first is not None
    assert first.id == digest("d")
    shelf.library.store.write(lambda writer: writer.remove_file(b"/a"))
    assert list(groups) == []


def test_groups_are_made_by_relations_pixels_and_files(shelf: Shelf) -> None:
    """Largest saving first; a scene is no duplicate, and what stands alone is in no group."""
    shelf.put("a", "/a", width=200)
    shelf.put("b", "/b", size=50)
    shelf.relate("b", "a")
    shelf.put("c", "/c1", "/c2", size=300)
    shelf.put("d", "/d", pixels="x")
    shelf.put("e", "/e", pixels="x")
    shelf.put("f", "/f")
    shelf.put("g", "/g")
    shelf.relate("f", "g", Verdict.SCENE)
    groups = shelf.page()
    assert [sorted(member.path for member in group.members) for group in groups] == [
        [b"/c1", b"/c2"],
        [b"/d", b"/e"],
        [b"/a", b"/b"],
    ]
    assert [group.saves_bytes for group in groups] == [300, 100, 50]
    ties = [[member.tie and member.tie.verdict for member in group.members] for group in groups]
    assert ties == [[None, Verdict.EXACT], [None, Verdict.EXACT], [None, Verdict.COPY]]


def test_a_chain_is_cut_where_pictures_have_no_relation_of_their_own(shelf: Shelf) -> None:
    """The ends have none with the best of the middle: the one with two files is a group by itself, the other in none.
    Pictures of another chain change nothing, whatever the order in which all were related."""
    for name, width in ("a", 100), ("b", 100), ("c", 300), ("d", 100), ("f", 100), ("g", 200):
        shelf.put(name, f"/{name}", width=width)
    shelf.put("e", "/e1", "/e2", size=70)
    for pair in "de", "fg", "ab", "cd", "bc":
        shelf.relate(*pair)
    assert [["/c", "/b", "/d"], ["/g", "/f"], ["/e1", "/e2"]] == shelf.paths()


def test_a_tie_is_seen_from_the_member(shelf: Shelf) -> None:
    """The relation was asked from the other side: the map leads from the member to the one to keep."""
    shelf.put("a", "/a", width=200)
    shelf.put("b", "/b")
    shelf.relate("a", "b")
    ((first, second),) = [group.members for group in shelf.page()]
    assert (first.path, second.path, first.tie) == (b"/a", b"/b", None)
    assert second.tie is not None
    assert second.tie.verification is not None
    assert second.tie.verification.mapping is not None
    assert second.tie.verification.mapping.scale == 2.0


def test_one_file_under_two_names_is_one_file(shelf: Shelf) -> None:
    """Two names alone are no group; beside a copy they are one member that saves its bytes once."""
    shelf.put("a", "/a1=/a2", width=50)
    assert shelf.page() == []
    shelf.put("b", "/b", width=200)
    shelf.relate("a", "b")
    (group,) = shelf.page()
    assert [(member.path, member.also) for member in group.members] == [(b"/b", ()), (b"/a1", (b"/a2",))]
    assert group.saves_bytes == 100


def test_contents_with_equal_pixels_share_their_relations(shelf: Shelf) -> None:
    """A copy of one of them is a copy of the other."""
    shelf.put("a", "/a", width=200, pixels="x")
    shelf.put("b", "/b", width=200, pixels="x")
    shelf.put("c", "/c")
    shelf.relate("c", "b")
    (group,) = shelf.page()
    assert [member.path for member in group.members] == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("kind", [DecisionKind.NOT_DUPLICATES, DecisionKind.LEAVE])
def test_a_silenced_pair_is_no_group(shelf: Shelf, kind: DecisionKind) -> None:
    """Another copy of either makes a group without the other."""
    shelf.put("a", "/a", width=200)
    shelf.put("b", "/b")
    shelf.relate("b", "a")
    shelf.decide(kind, "ab")
    assert shelf.page() == []
    shelf.put("c", "/c")
    shelf.relate("c", "a")
    assert shelf.paths() == [["/a", "/c"]]


def test_equal_pixels_can_be_held_apart(shelf: Shelf) -> None:
    """A person's word counts more than the pixels."""
    shelf.put("a", "/a", pixels="x")
    shelf.put("b", "/b", pixels="x")
    shelf.decide(DecisionKind.NOT_DUPLICATES, "ab")
    assert shelf.page() == []


def test_files_with_the_same_bytes_can_be_left(shelf: Shelf) -> None:
    """Only by LEAVE: the same bytes are never different pictures."""
    shelf.put("a", "/a1", "/a2")
    shelf.put("b", "/b1", "/b2")
    shelf.decide(DecisionKind.LEAVE, "a")
    assert shelf.paths() == [["/b1", "/b2"]]


def test_a_content_that_was_left_stays_beside_a_better_copy(shelf: Shelf) -> None:
    """Of its files the first stands for all; whether a copy or equal pixels joined it."""
    shelf.put("a", "/a1", "/a2", pixels="x")
    shelf.decide(DecisionKind.LEAVE, "a")
    shelf.put("b", "/b", width=200)
    shelf.relate("b", "a")
    shelf.put("c", "/c", pixels="x")
    (group,) = shelf.page()
    assert {member.path: member.stays for member in group.members} == {b"/a1": True, b"/b": False, b"/c": False}
    shelf.undo(1)
    (group,) = shelf.page()
    stays = {member.path: member.stays for member in group.members}
    assert stays == dict.fromkeys((b"/a1", b"/a2", b"/b", b"/c"), False)


def test_the_chosen_file_is_first_among_those_of_its_bytes(shelf: Shelf) -> None:
    """While it lies there: decisions outlive renames."""
    shelf.put("a", "/a1", "/a2", "/a3")
    shelf.decide(DecisionKind.KEEP, "a", keep="a", path="/a2")
    assert shelf.paths(ALL) == [["/a2", "/a1", "/a3"]]
    shelf.decide(DecisionKind.KEEP, "a", keep="a", path="/gone")
    assert shelf.paths(ALL) == [["/a1", "/a2", "/a3"]]


def test_the_chosen_content_is_first_and_the_group_is_decided(shelf: Shelf) -> None:
    """A new copy opens the decided group again, with the chosen one still first."""
    shelf.put("a", "/a", width=200)
    shelf.put("b", "/b")
    shelf.relate("b", "a")
    shelf.decide(DecisionKind.KEEP, "ab", keep="b")
    assert (shelf.page(GroupFilter(decided=False)), shelf.paths(GroupFilter(decided=True))) == ([], [["/b", "/a"]])
    (group,) = shelf.page()
    assert (group.decision, group.reason) == (1, "your decision")
    shelf.put("c", "/c", width=300)
    shelf.relate("c", "b")
    shelf.relate("c", "a")
    assert shelf.paths(GroupFilter(decided=False)) == [["/b", "/c", "/a"]]


def test_pages_follow_each_other(shelf: Shelf) -> None:
    """Each group once, whatever the size of a page; totals are of all that pass the filter."""
    for n, name in enumerate("abcdefg"):
        shelf.put(name, f"/{name}1", f"/{name}2", size=100 + n // 2)
    for limit in (1, 3, 7, 100):
        seen, after = [], None
        while True:
            page = shelf.duplicates.page(RULES, SCORING, ALL, after, limit)
            assert (page.total, page.saves_bytes) == (7, sum(100 + n // 2 for n in range(7)))
            seen += [group.members[0].path.decode() for group in page.groups]
            after = page.after
            if after is None:
                break
        assert seen == ["/g1", "/e1", "/f1", "/c1", "/d1", "/a1", "/b1"]


def test_pages_can_be_filtered(shelf: Shelf) -> None:
    """By a directory that some file lies in, and by the verdict of some file."""
    shelf.put("a", "/x/a1", "/y/a2")
    shelf.put("b", "/z/b", width=200)
    shelf.put("c", "/z/c")
    shelf.relate("c", "b")
    assert shelf.paths(GroupFilter(under=b"/y")) == [["/x/a1", "/y/a2"]]
    assert shelf.paths(GroupFilter(verdict=Verdict.COPY)) == [["/z/b", "/z/c"]]
    assert shelf.paths(GroupFilter(verdict=Verdict.EXACT)) == [["/x/a1", "/y/a2"]]
    assert shelf.paths(GroupFilter(under=b"/y", verdict=Verdict.COPY)) == []


def test_pages_can_be_filtered_by_time(shelf: Shelf) -> None:
    """Some file was modified from a time on, and before another."""
    shelf.put("a", "/a1", "/a2", mtime_ns=10)
    shelf.put("b", "/b1", "/b2", mtime_ns=20)
    assert shelf.paths(GroupFilter(since_ns=20)) == [["/b1", "/b2"]]
    assert shelf.paths(GroupFilter(until_ns=20)) == [["/a1", "/a2"]]
    assert shelf.paths(GroupFilter(since_ns=11, until_ns=20)) == []
    assert shelf.paths(GroupFilter(since_ns=10, until_ns=21)) == [["/a1", "/a2"], ["/b1", "/b2"]]


def test_a_group_is_found_by_its_id(shelf: Shelf) -> None:
    shelf.put("a", "/a1", "/a2")
    (group,) = shelf.page()
    assert shelf.duplicates.group(RULES, SCORING, group.id) == group
    assert shelf.duplicates.group(RULES, SCORING, digest("z")) is None


def test_removed_files_leave_their_groups(shelf: Shelf) -> None:
    """At once, also while the listing of before is still in use."""
    shelf.put("a", "/a1", "/a2")
    groups = shelf.duplicates.groups(RULES, SCORING)
    shelf.library.store.write(lambda writer: writer.remove_file(b"/a2"))
    assert (list(groups), shelf.page()) == ([], [])


def test_evidence_decides_before_size_and_headers(shelf: Shelf) -> None:
    """A framed version is larger than its original, and names a camera."""
    shelf.put("a", "/original")
    shelf.put("b", "/framed", width=200)
    shelf.relate("b", "a", evidence=Evidence(("frame",), (), 0.5))
    shelf.library.store.write(lambda w: w.relations.put_facts(shelf.content("b"), PictureFacts(camera="X")))
    (group,) = shelf.page()
    assert [member.path for member in group.members] == [b"/original", b"/framed"]
    assert group.reason == "original of the framed version, shows detail 2.0 times finer"


@pytest.mark.parametrize(
    ("signs", "detail", "reason"),
    [
        (("blur",), 0.8, "original of the blurred version, shows detail 1.2 times finer"),
        (("blur",), 0.9, "original of the blurred version"),
    ],
)
def test_the_reason_reads_plainly(shelf: Shelf, signs: tuple[str, ...], detail: float, reason: str) -> None:
    """A difference in detail is told in a number, a small one not at all."""
    shelf.put("a", "/original")
    shelf.put("b", "/other")
    shelf.relate("b", "a", evidence=Evidence(signs, (), detail))
    (group,) = shelf.page()
    assert group.reason == reason


def test_rules_and_references_decide_before_evidence(shelf: Shelf) -> None:
    """The rules of the configuration, in their order, after reference directories."""
    shelf.put("a", "/inbox/a")
    shelf.put("b", "/albums/b")
    shelf.relate("b", "a", evidence=Evidence(("crop",), (), None))
    preferring = KeepRules.of(("path:/albums/*",), ())
    reference = KeepRules.of(("path:/albums/*",), (b"/inbox",))
    told = [shelf.page(rules=rules)[0] for rules in (RULES, preferring, reference)]
    assert [(group.members[0].path, group.reason) for group in told] == [
        (b"/inbox/a", "original of the crop"),
        (b"/albums/b", "preferred path /albums/*"),
        (b"/inbox/a", "in a reference root"),
    ]


def test_bins_are_never_preferred(shelf: Shelf) -> None:
    """Even against all evidence."""
    shelf.put("a", "/p/#recycle/a", width=500)
    shelf.put("b", "/p/b")
    shelf.relate("b", "a", evidence=Evidence(("crop", "blur"), (), 0.5))
    assert shelf.paths() == [["/p/b", "/p/#recycle/a"]]


def test_a_decision_changes_the_listing_like_a_new_one(shelf: Shelf) -> None:
    """Groups that are made anew around a decision are those of a whole listing, and so they are after its undoing."""
    for name in "abcdefgh":
        shelf.put(name, f"/{name}1", *([f"/{name}2"] if name in "gh" else []), width=100 + ord(name), size=ord(name))
    for asked, known in ("ba", "ca", "cb", "dc", "ed", "gf"):
        shelf.relate(asked, known)

    def whole() -> list[list[str]]:
        fresh = Duplicates(shelf.library, verified=True)
        groups = filter(None, fresh.groups(RULES, SCORING))
        return [[member.path.decode() for member in group.members] for group in groups]

    before = shelf.paths()
    assert before == whole()
    for names, kind in (("ca", "not_duplicates"), ("cb", "leave"), ("gf", "leave"), ("h", "leave"), ("edc", "leave")):
        shelf.decide(DecisionKind(kind), names)
        assert shelf.paths() == whole()
    for number in range(5, 0, -1):
        shelf.undo(number)
        assert shelf.paths() == whole()
    assert shelf.paths() == before


@pytest.mark.parametrize("seed", range(6))
def test_a_listing_follows_the_changes_of_the_store(shelf: Shelf, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written, the groups are those of a whole listing, and are made without one."""
    rng = random.Random(seed)
    names = "abcdefghijkl"
    for name in names:
        shelf.put(name, f"/{name}0", pixels=rng.choice(["", "", "x", "y"]), width=rng.randint(100, 900))
    shelf.page()
    passes = []
    all_rows = GroupRows.of_all
    monkeypatch.setattr(GroupRows, "of_all", lambda *args: (passes.append(args), all_rows(*args))[1])
    for step in range(60):
        a, b = rng.sample(names, 2)
        with suppress(AssertionError):  # a content was removed for good
            change(shelf, rng.randrange(9), a, b, step)
        followed = shelf.page()
        assert passes == []
        whole = Duplicates(shelf.library, verified=True).page(RULES, SCORING, ALL, None, 100).groups
        assert followed == whole
        passes.clear()


def change(shelf: Shelf, kind: int, a: str, b: str, step: int) -> None:
    """Write something about two contents."""
    write = shelf.library.store.write
    if kind < 3:
        shelf.relate(a, b, (Verdict.COPY, Verdict.COPY, Verdict.VARIANT)[kind], Evidence(("crop",), (), 0.5))
    elif kind == 3:
        row = FileRow(Stat(step, step, step, 1), FileState.INDEXED, shelf.content(a))
        write(lambda writer: writer.put_file(b"/%d" % (step % 7), row))
    elif kind == 4:
        write(lambda writer: [writer.remove_file(path) for path in writer.files_of(shelf_content(writer, a))[:1]])
    elif kind == 5:
        shelf.decide(DecisionKind.NOT_DUPLICATES, "".join(sorted(a + b)))
    elif kind == 6:
        content = shelf.content(a)
        write(lambda writer: writer.relations.put_facts(content, PictureFacts(camera="X" * (step % 2))))
    elif kind == 7:
        write(lambda writer: writer.prune(list(writer.deleted())))
    else:
        content = shelf.content(a)
        write(lambda writer: writer.put_features(content, b""))


def shelf_content(writer: Writer, name: str) -> ContentId:
    found = writer.content(digest(name))
    assert found is not None
    return found


def test_groups_are_listed_before_anyone_asks(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: later changes are followed when they are asked for. Pairs by score are not searched ahead."""
    shelf.put("a", "/a1", "/a2")
    passes = []
    all_rows = GroupRows.of_all
    monkeypatch.setattr(GroupRows, "of_all", lambda *args: (passes.append(args), all_rows(*args))[1])
    for name in "bc":
        shelf.duplicates.prepare(RULES, SCORING)
        shelf.put(name, f"/{name}1", f"/{name}2")
    assert len(shelf.page()) == 3
    Duplicates(shelf.library, verified=False).prepare(RULES, SCORING)
    assert len(passes) == 1


def test_moved_directories_and_many_changes_list_all_groups_anew(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule may look at directories, and a change of all is no change of some."""
    shelf.put("a", "/inbox/a", "/album/a")
    preferring = KeepRules.of(("path:/album/*",), ())
    assert shelf.page(rules=preferring)[0].members[0].path == b"/album/a"
    shelf.library.store.write(lambda writer: [writer.move(b"/album", b"/x"), writer.move(b"/inbox", b"/album")])
    assert shelf.page(rules=preferring)[0].members[0].path == b"/album/a"
    monkeypatch.setattr(duplicates, "CONNECTED_MAX", 1)
    shelf.put("b", "/album/b", width=200)
    shelf.relate("b", "a")
    assert len(shelf.page(rules=preferring)[0].members) == 3


def test_groups_by_score_can_be_broken_off(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without verification all pairs are searched first: None is given meanwhile, and a close ends the search."""
    monkeypatch.setattr(duplicates, "GIVEN_EVERY_S", 0.0)
    for name in "abc":
        shelf.put(name, f"/{name}")
        content = shelf.content(name)
        shelf.library.add([(content, Fingerprint(Signals(first_hashes(1, 1), None), None, 100, 100, "JPEG"))])
    by_score = Duplicates(shelf.library, verified=False)
    *waiting, group = by_score.groups(RULES, SCORING)
    assert waiting == [None] * len(waiting) != []
    assert group is not None
    assert [member.path for member in group.members] == [b"/a", b"/b", b"/c"]
    searched = []
    index = shelf.library.index
    pairs = index.pairs
    monkeypatch.setattr(index, "pairs", lambda *args: (searched.append(each[0]) or each for each in pairs(*args)))
    broken_off = by_score.groups(RULES, SCORING)
    assert next(broken_off) is None
    broken_off.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(searched) == 1

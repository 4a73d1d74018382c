"""The way of a query through a real store, with the index that compares with every row and geometry by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes
from patience import PATIENCE_S
from spoiled_rows import spoil

from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.index.base import Index
from shazimd.index.cascade import CascadeIndex
from shazimd.index.files import Folder
from shazimd.index.flat import FlatIndex
from shazimd.search.candidates import BY_SCORE, WORDS_FEW
from shazimd.search.library import Library
from shazimd.search.query import BY_WORDS, Search, Verify
from shazimd.search.score import score, similarities
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.text import all_weights
from shazimd.types import DEFAULT_WEIGHTS, ContentId, FileRow, FileState, Hit, Stat, Verdict, Verification, Weights
from shazimd.words.packing import DRAWN, FEATURE, HEADER, VERSION

KNOWN = 120
NO_WORDS = HEADER.pack(VERSION, 0, 10, 10, 0)
"""packed local features of which there are none"""
COPY = NO_WORDS + b"a copy"


class Counted(FlatIndex):
    """Remembers how many rows each search gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def search(
        self, queries: Sequence[Signals], weights: Weights, threshold: float, limit: int | None = None
    ) -> list[list[Hit]]:
        answers = super().search(queries, weights, threshold, limit)
        self.given += map(len, answers)
        return answers


def turned(signals: Signals, bits: int) -> Signals:
    """As another orientation: other hashes, the same vector."""
    return Signals(tuple(None if own is None else own ^ bits for own in signals.hashes), signals.fv)


def near(random: np.random.Generator, bits_max: int) -> Signals:
    """Signals around one centre, at distances that spread."""
    flips = [sum(1 << int(bit) for bit in random.integers(0, 64, random.integers(0, bits_max))) for _ in range(2)]
    vector = np.abs(np.array([1.0, 0, 0, 0]) + random.normal(scale=bits_max / 40, size=4))
    return Signals(
        first_hashes(0xF0F0 ^ flips[0] % 2**64, 0x1234 ^ flips[1] % 2**64),
        (vector / np.linalg.norm(vector)).astype("f4"),
    )


def fingerprint(signals: Signals, features: bytes = b"", *, faint: bool = False) -> Fingerprint:
    return Fingerprint(signals, "m", 10, 10, "PNG", low_information=faint, features=features)


def with_words(number: int, label: bytes, flags: int = 0) -> bytes:
    """Packed local features with a word that ``number`` pictures of a test share."""
    rows = np.zeros(number, FEATURE)
    rows["word"] = np.arange(number)
    return HEADER.pack(VERSION, flags, 10, 10, number) + rows.tobytes() + label


def put(library: Library, number: int, known: Fingerprint) -> ContentId:
    """Add a content with a file."""

    def add(writer: Writer) -> ContentId:
        content = writer.add_content(b"%032d" % number, known)
        writer.put_file(b"/q/%d" % number, FileRow(Stat(1, 1, number), FileState.INDEXED, content))
        return content

    content = library.store.write(add)
    library.add([(content, known)])
    return content


def verify(_query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
    """Pictures without features show something else."""
    done: Future[list[Verification]] = Future()
    done.set_result([Verification(Verdict.COPY if each == COPY else None) for each in candidates])
    return done


MODEL: Any = SimpleNamespace(id="m", output_width=4, copy_from=None)
"""The part of a model that a library asks for."""


@pytest.fixture(params=[FlatIndex, CascadeIndex])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    make = request.param
    with closing(
        CascadeIndex(Folder.take(str(tmp_path / "index"), "m"), "m") if make is CascadeIndex else make()
    ) as made:
        yield made


@pytest.fixture
def library(tmp_path: Path, index: Index) -> Iterator[Library]:
    """KNOWN contents, a file each; every tenth has two."""
    random = np.random.default_rng(5)
    with closing(open_store(str(tmp_path / "store"), 1 << 26)) as store:

        def fill(writer: Writer) -> None:
            for number in range(1, KNOWN + 1):
                content = writer.add_content(number.to_bytes(32, "big"), fingerprint(near(random, 40)))
                vector = near(random, 40).fv
                assert vector is not None
                writer.put_vector(content, "m", vector)
                for name in (b"/p/%d", b"/p/%d-again")[: 1 + (number % 10 == 0)]:
                    writer.put_file(name % number, FileRow(Stat(1, 1, number), FileState.INDEXED, content))

        def open_index(_store: object, _model: str | None) -> Index:
            with store.read() as reader:
                index.add(list(reader.signals("m")))
            return index

        store.write(fill)
        with closing(Library(store, open_index, MODEL)) as made:
            yield made


@pytest.fixture
def query() -> Query:
    upright = near(np.random.default_rng(9), 6)
    orientations = tuple(turned(upright, bits) for bits in (0, 0xFFFF, 0xFF00FF, 0xF0F0F0F0, 0xFFFFFFFFFF))
    return Query(fingerprint(upright), orientations, NO_WORDS)


def expected(library: Library, query: Query, threshold: float) -> list[tuple[ContentId, float]]:
    """By definition: the best score of all orientations of every known content."""
    with library.store.read() as reader:
        best = [
            (content, max(score(similarities(one, signals), DEFAULT_WEIGHTS) for one in query.orientations))
            for content, signals in reader.signals("m")
        ]
    return sorted((each for each in best if each[1] >= threshold), key=lambda each: (-each[1], each[0]))


def found(search: Search, query: Query, threshold: float, limit: int | None = None) -> list[tuple[bytes, Verdict]]:
    matches = search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=threshold, limit=limit)
    return [(match.path, match.verdict) for match in matches]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.7, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("using", [verify, None])
def test_every_content_at_or_over_the_threshold_matches(
    library: Library, query: Query, threshold: float, using: Verify | None
) -> None:
    """All of them and no other, best first, whatever the threshold, with and without verification."""
    matches = Search(library, using).matches(query, None, weights=DEFAULT_WEIGHTS, threshold=threshold)
    contents = list(dict.fromkeys(match.content for match in matches))
    assert [content for content, _ in expected(library, query, threshold)] == contents


@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("limit", [1, 7, BY_SCORE, BY_SCORE + 1, 50, 1000])
def test_a_limit_gives_the_beginning_of_the_whole_answer(
    library: Library, query: Query, threshold: float, limit: int
) -> None:
    """What a limit leaves is what the whole answer begins with."""
    search = Search(library, verify)
    assert found(search, query, threshold)[:limit] == found(search, query, threshold, limit)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("limit", [None, 1, BY_SCORE + 1])
@pytest.mark.parametrize("words", [0, WORDS_FEW])
@pytest.mark.parametrize("faint", [False, True])
def test_what_was_looked_up_ahead_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
    library: Library,
    query: Query,
    threshold: float,
    limit: int | None,
    words: int,
    faint: bool,
) -> None:
    """Nor does a query without a vector, with few words or with low information have another one."""
    monkeypatch.setattr(MODEL, "copy_from", 1.6)
    put(library, KNOWN + 1, fingerprint(near(np.random.default_rng(3), 30), COPY))
    search = Search(library, verify)
    for signals in (query.fingerprint.signals, Signals(query.fingerprint.signals.hashes, None)):
        views = tuple(Signals(each.hashes, signals.fv) for each in query.orientations)
        early = Query(fingerprint(signals, faint=faint), views, NO_WORDS)
        ahead = search.ahead(early, DEFAULT_WEIGHTS, threshold)
        whole = replace(early, features=with_words(words, b"-"))
        asked = partial(
            search.matches, whole, None, weights=DEFAULT_WEIGHTS, threshold=threshold, limit=limit, ahead=ahead
        )
        assert asked(ahead=None) == asked()


@pytest.mark.parametrize("index", [Counted], indirect=True)
def test_what_was_looked_up_ahead_is_not_looked_up_again(library: Library, index: Counted, query: Query) -> None:
    """Of a query with enough words; no search is left where fewer than BY_SCORE reach the threshold."""
    search, whole = Search(library, verify), replace(query, features=with_words(WORDS_FEW, b"-"))
    ahead = search.ahead(query, DEFAULT_WEIGHTS, 0.95)
    searches = len(index.given)
    search.matches(whole, None, weights=DEFAULT_WEIGHTS, threshold=0.95, ahead=ahead)
    assert searches == len(index.given)


@pytest.mark.parametrize("index", [Counted], indirect=True)
def test_with_a_limit_no_search_gives_more_than_some_rows(library: Library, index: Counted, query: Query) -> None:
    """At a threshold that everything reaches, the index is asked for about as many as the limit."""
    found(Search(library, verify), query, 0.0, 20)
    assert max(index.given) <= 8 * BY_SCORE < KNOWN


def test_contents_without_a_file_to_name_do_not_shorten_the_answer(library: Library, query: Query) -> None:
    """When the best hundred may not be named, the next ones are, each by a single file."""
    search = Search(library, verify)
    whole = search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=0.0)
    banned = {match.path for match in whole[:100]}
    matches = search.matches(
        query, None, weights=DEFAULT_WEIGHTS, threshold=0.0, limit=5, admit=lambda path, *_: path not in banned
    )
    following = dict.fromkeys(match.content for match in whole[100:])
    assert list(following)[:5] == [match.content for match in matches]
    assert not banned & {match.path for match in matches}


@pytest.mark.parametrize("index", [Counted], indirect=True)
def test_few_matches_take_one_search(library: Library, index: Counted, query: Query) -> None:
    """Where fewer than BY_SCORE reach the threshold, proposing has found them all: each orientation is asked once."""
    assert len(expected(library, query, 0.95)) < BY_SCORE
    found(Search(library, verify), query, 0.95)
    assert len(index.given) == len(query.orientations)


def test_what_geometry_confirms_comes_first_and_below_the_threshold(library: Library, query: Query) -> None:
    """A copy that the score alone would leave out is found, before what is merely similar, however small the limit."""
    ranking = expected(library, query, 0.0)
    with library.store.read() as reader:
        signals = dict(reader.signals("m"))[ranking[4][0]]

    def add(writer: Writer) -> ContentId:
        content = writer.add_content(b"c" * 32, fingerprint(signals, COPY))
        assert signals.fv is not None
        writer.put_vector(content, "m", signals.fv)
        writer.put_file(b"/p/copy", FileRow(Stat(1, 1, 1), FileState.INDEXED, content))
        return content

    content = library.store.write(add)
    library.index.add([(content, signals)])
    search = Search(library, verify)
    assert [(b"/p/copy", Verdict.COPY)] == found(search, query, 0.7, 1) == found(search, query, 1.0)
    assert (b"/p/copy", Verdict.COPY) == found(search, query, 0.0)[0]
    assert Verdict.SIMILAR == found(search, query, 0.0)[1][1]


@pytest.mark.parametrize("flags", [0, DRAWN])
def test_the_window_around_a_plain_picture_is_compared_by_score(library: Library, query: Query, flags: int) -> None:
    """The words of a drawing may all be those of a window's title; a photograph shares words with its copies."""
    signals = query.orientations[1]
    known = put(library, 1, fingerprint(signals, COPY))
    asked = Query(query.fingerprint, query.orientations[:1], with_words(80, b"asks", flags))
    assert 0.6 < score(similarities(query.orientations[0], signals), DEFAULT_WEIGHTS) < 1
    matches = Search(library, verify).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert [match.content for match in matches] == ([known] if flags else [])


def test_what_is_exact_is_told_once(library: Library, query: Query) -> None:
    """A content that is known by its bytes is not told as a copy, too."""
    content = expected(library, query, 0.0)[0][0]
    search = Search(library, lambda q, candidates: verify(q, [COPY for _ in candidates]))
    matches = search.matches(query, content, weights=DEFAULT_WEIGHTS, threshold=0.0)
    assert [Verdict.EXACT] == [match.verdict for match in matches if match.content == content]
    assert Verdict.COPY == matches[1].verdict


def test_a_match_stands_out_from_the_neighbourhood(library: Library, query: Query) -> None:
    """The tenth nearest tells its level; a single one near to the query is far above that."""
    search = Search(library, None)
    crowd = [match.stands_out for match in search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=0.0)]
    tenth = expected(library, query, 0.0)[BY_SCORE - 1][1]
    near = 1 - (1 - tenth) / 4
    assert crowd == [
        match.score >= near for match in search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=0.0)
    ]
    content = put(library, 900, fingerprint(query.fingerprint.signals))
    first, *_ = search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=0.0)
    assert (first.content, first.stands_out) == (content, True)


def test_without_a_vector_the_threshold_keeps_its_meaning(library: Library, query: Query) -> None:
    """A pair that lacks one needs a higher score; not where the weights leave the vectors out."""
    bare = Signals(query.fingerprint.signals.hashes, None)
    asked = Query(fingerprint(bare), (bare,), NO_WORDS)
    search = Search(library, None)
    scores = [score(similarities(bare, known), DEFAULT_WEIGHTS) for _, known in known_signals(library)]
    found_ = search.matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=0.6)
    assert len({match.content for match in found_}) == sum(each >= 0.6**0.6 for each in scores)
    by_hashes = search.matches(asked, None, weights=all_weights((1.0, 1.0, 0.0)), threshold=0.6)
    assert len({match.content for match in by_hashes}) == sum(each >= 0.6 for each in scores) > len(found_)


def known_signals(library: Library) -> list[tuple[ContentId, Signals]]:
    with library.store.read() as reader:
        return list(reader.signals("m"))


def test_variants_of_a_crowd_do_not_stand_out(library: Library, query: Query) -> None:
    """One variant as near as can be is news; of six of them none is."""
    asked = Query(query.fingerprint, query.orientations, with_words(80, b"asks"))
    told = []
    for number in range(6):
        put(library, 900 + number, fingerprint(query.fingerprint.signals, with_words(80, b"vari")))
        matches = Search(library, by_label).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=0.75)
        told.append({match.stands_out for match in matches if match.verdict is Verdict.VARIANT})
    assert told == [{True}] * 4 + [{False}] * 2


def by_label(_query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
    """Verified by the bytes behind the features."""
    done: Future[list[Verification]] = Future()
    labels = {b"copy": Verdict.COPY, b"vari": Verdict.VARIANT, b"scen": Verdict.SCENE}
    done.set_result([Verification(labels.get(each[-4:])) for each in candidates])
    return done


def test_more_copies_than_are_verified_first_are_all_found(library: Library, query: Query) -> None:
    """43 copies of one picture, by shared words alone: all are told."""
    far = Signals(first_hashes(0x0F0F_FFFF_0000_1234, 0xABCD_0000_FFFF_0F0F), None)
    put_ = [put(library, number, fingerprint(far, with_words(80, b"copy"))) for number in range(43)]
    asked = Query(query.fingerprint, query.orientations, with_words(80, b"asks"))
    matches = Search(library, by_label).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert put_ == sorted(match.content for match in matches if match.verdict is Verdict.COPY)


def test_the_original_ranks_above_its_variants_and_these_above_scenes(library: Library, query: Query) -> None:
    """Though the original shares fewer words than 40 pictures of its template."""
    far = Signals(first_hashes(0x0F0F_FFFF_0000_1234, 0xABCD_0000_FFFF_0F0F), None)
    for number in range(40):
        put(library, number, fingerprint(far, with_words(100, b"vari")))
    put(library, 40, fingerprint(far, with_words(95, b"scen")))
    original = put(library, 41, fingerprint(far, with_words(90, b"copy")))
    asked = Query(query.fingerprint, query.orientations, with_words(100, b"asks"))
    matches = Search(library, by_label).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert (original, Verdict.COPY) == (matches[0].content, matches[0].verdict)
    assert [Verdict.VARIANT] * 40 + [Verdict.SCENE] == [match.verdict for match in matches[1:]]


def test_a_copy_by_words_and_by_score_is_told_once(library: Library, query: Query) -> None:
    """Also when its words rank behind those verified first: the best by score are the last by words."""
    signals = query.fingerprint.signals
    for number in range(30):
        known = signals if number >= BY_WORDS else turned(signals, 0xFFFF_0000_0000)
        put(library, number, fingerprint(known, with_words(80, b"copy")))
    asked = Query(query.fingerprint, query.orientations, with_words(80, b"asks"))
    matches = Search(library, by_label).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=0.9)
    paths = [match.path for match in matches]
    assert len(paths) == len(set(paths)) >= 30


def test_of_two_copies_the_one_with_more_inliers_is_first(library: Library, query: Query) -> None:
    """Though the other's score is higher: a screenshot's score says little."""
    signals = query.fingerprint.signals
    other = put(library, 1, fingerprint(signals, NO_WORDS + b"\x10"))
    original = put(library, 2, fingerprint(turned(signals, 0xF), NO_WORDS + b"\x20"))

    def with_inliers(_query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        done: Future[list[Verification]] = Future()
        labelled = [each.removeprefix(NO_WORDS) for each in candidates]
        done.set_result([Verification(Verdict.COPY, each[0]) if each else Verification(None) for each in labelled])
        return done

    matches = Search(library, with_inliers).matches(query, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert [original, other] == [match.content for match in matches if match.verdict is Verdict.COPY]


def test_verifying_stops_where_most_are_unrelated(library: Library, query: Query) -> None:
    """Pictures that share words by chance cost no more than the first candidates."""
    far = Signals(first_hashes(0x0F0F_FFFF_0000_1234, 0xABCD_0000_FFFF_0F0F), None)
    for number in range(60):
        put(library, number, fingerprint(far, with_words(80, b"else")))
    verified: list[int] = []

    def counted(packed: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        verified.append(len(candidates))
        return by_label(packed, candidates)

    asked = Query(query.fingerprint, query.orientations, with_words(80, b"asks"))
    Search(library, counted).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert sum(verified) == BY_WORDS
    assert [1, 1, 1, 1, 4] == verified[:5]  # copies, the likeliest, take longest


def test_candidates_with_a_high_score_are_verified_one_in_a_job(library: Library, query: Query) -> None:
    """Most are copies, which would also be compared with each other in one job."""
    for number in range(12):
        put(library, 900 + number, fingerprint(query.fingerprint.signals, with_words(80, b"copy")))
    jobs: list[int] = []

    def counted(packed: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        jobs.append(len([each for each in candidates if each.endswith(b"copy")]))
        return by_label(packed, candidates)

    asked = Query(query.fingerprint, query.orientations, with_words(80, b"asks"))
    Search(library, counted).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=1.0)
    assert [1] * 12 == [copies for copies in jobs if copies][:12]


@pytest.mark.parametrize("asked_faint", [True, False])
def test_a_low_information_picture_is_verified_and_never_similar(
    library: Library, query: Query, asked_faint: bool
) -> None:
    """Its hashes propose it, verification alone decides, whichever of the pair is low in information."""
    signals = query.fingerprint.signals
    copy = put(library, 1, fingerprint(signals, COPY, faint=True))
    put(library, 2, fingerprint(signals, NO_WORDS, faint=True))
    normal = put(library, 3, fingerprint(signals, COPY))
    asked = Query(fingerprint(signals, NO_WORDS, faint=asked_faint), query.orientations, NO_WORDS)
    matches = Search(library, verify).matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=0.6)
    assert {copy, normal} == {match.content for match in matches if match.verdict is Verdict.COPY}
    likes = {match.path for match in matches if match.verdict is Verdict.SIMILAR}
    assert b"/q/2" not in likes
    assert bool(likes) is not asked_faint


def test_find_and_compare_give_one_answer_to_a_low_information_pair(library: Library, query: Query) -> None:
    """A copy by verification; nothing by score, however high."""
    signals = query.fingerprint.signals
    asked = Query(fingerprint(signals, NO_WORDS, faint=True), query.orientations, NO_WORDS)
    search = Search(library, verify)
    for number, features in enumerate((COPY, NO_WORDS)):
        known = fingerprint(signals, features, faint=True)
        content = put(library, number, known)
        compared = search.compare(asked, known, same_bytes=False, weights=DEFAULT_WEIGHTS, threshold=0.6)
        matches = search.matches(asked, None, weights=DEFAULT_WEIGHTS, threshold=0.6)
        found_verdicts = [match.verdict for match in matches if match.content == content]
        assert found_verdicts == ([compared.verdict] if compared.verdict else [])


@pytest.mark.parametrize("table", ["features", "vectors"])
def test_a_damaged_candidate_does_not_fail_the_question(library: Library, query: Query, table: str) -> None:
    """Nor the next start's index. The others are found as before, and the backfill is to make its row anew."""
    for number in (1, 2):
        put(library, number, fingerprint(query.fingerprint.signals, COPY))
    places = {"features": 0, "vectors": KNOWN}
    spoil(library.store, table, places[table])

    def open_index(store: Store, _model: str | None) -> Index:
        made = FlatIndex()
        with store.read() as reader:
            made.add(list(reader.signals("m")))
        return made

    with closing(Library(library.store, open_index, MODEL)) as again:
        again.loaded.result(PATIENCE_S)
        matches = dict(found(Search(again, verify), query, 0.6))
        verdicts = (matches[b"/q/1"], matches[b"/q/2"])
        assert verdicts == ((Verdict.SIMILAR if table == "features" else Verdict.COPY), Verdict.COPY)
        assert again.filling.is_wanted(KNOWN + 1)


def test_low_information_pictures_are_loaded_and_removed(library: Library, query: Query) -> None:
    """A start reads their hashes from the store."""
    content = put(library, 1, fingerprint(query.fingerprint.signals, COPY, faint=True))
    with closing(Library(library.store, lambda _store, _model: FlatIndex(), MODEL)) as again:
        again.loaded.result(PATIENCE_S)
        assert content in again.faint
        again.remove([content])
        assert content not in again.faint

"""The vector proposes and confirms: with a model made for copies, and with no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.index.flat import FlatIndex
from shazimd.models.model import ModelInfo
from shazimd.search import partners
from shazimd.search.candidates import BY_VECTOR
from shazimd.search.library import Library
from shazimd.search.partners import check_partners
from shazimd.search.query import Search
from shazimd.search.scope import Scope
from shazimd.search.score import confirmed
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import DEFAULT_WEIGHTS, FileRow, FileState, Stat, Verdict, Verification
from shazimd.words.packing import HEADER, VERSION

BORDER = 1.9
NO_WORDS = HEADER.pack(VERSION, 0, 10, 10, 0)
"""Packed local features of which there are none."""


def fingerprint(cosine: float, bits: int, features: bytes = NO_WORDS) -> Fingerprint:
    """With this cosine to the first axis, and hashes of one bit pattern."""
    vector = np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)
    return Fingerprint(Signals(first_hashes(bits, bits), vector), "m", 10, 10, "PNG", features=features)


QUERY = fingerprint(1.0, 0)
FAR = 2**64 - 1
"""Hashes with no bit of the query's."""


def verifying(found: Verification, asked: list[int]) -> Callable[[bytes, Sequence[bytes]], Future[list[Verification]]]:
    """All pairs have this verification; ``asked`` gets the number of candidates of each job."""

    def verify(_query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        done: Future[list[Verification]] = Future()
        done.set_result([found for _ in candidates])
        asked.append(len(candidates))
        return done

    return verify


@contextmanager
def opened(folder: Path, copy_from: float | None, known: Sequence[Fingerprint]) -> Iterator[Library]:
    """A library of these contents, whose ids begin at 1."""
    model = ModelInfo("m", "m", "00", "", 1, 1, 2, copy_from=copy_from)
    with (
        closing(open_store(str(folder / "store"), 64 << 20)) as store,
        closing(Library(store, lambda _, __: FlatIndex(), model)) as library,
    ):
        for number, each in enumerate(known):

            def add(writer: Writer, number: int = number, each: Fingerprint = each) -> int:
                content = writer.add_content(b"%032d" % number, each)
                writer.put_file(b"/q/%d" % number, FileRow(Stat(1, 1, number), FileState.INDEXED, content))
                return content

            library.add([(store.write(add), each)])
        yield library


@pytest.mark.parametrize(
    ("verdict", "agreement", "dfv", "copy_from", "expected"),
    [
        (Verdict.SCENE, 0.97, 0.94, BORDER, Verdict.COPY),
        (Verdict.SCENE, 0.97, 0.92, BORDER, Verdict.SCENE),
        (Verdict.SCENE, 0.80, 0.99, BORDER, Verdict.SCENE),
        (Verdict.SCENE, 0.97, 0.94, None, Verdict.SCENE),
        (Verdict.SCENE, None, 0.99, BORDER, Verdict.SCENE),
        (Verdict.SCENE, 0.97, None, BORDER, Verdict.SCENE),
        (Verdict.VARIANT, 0.99, 0.99, BORDER, Verdict.VARIANT),
        (None, None, 0.99, BORDER, None),
    ],
)
def test_a_scene_is_a_copy_where_agreement_and_cosine_reach_the_border(
    verdict: Verdict | None, agreement: float | None, dfv: float | None, copy_from: float | None, expected: Verdict
) -> None:
    """Both count; a template and a pair without a map are never made copies, nor is anything without a border."""
    found = Verification(verdict, 9, agreement)
    assert confirmed(found, dfv, copy_from) == Verification(expected, 9, agreement)


@pytest.mark.parametrize(("copy_from", "verdicts"), [(BORDER, [Verdict.COPY]), (None, [])])
def test_the_nearest_vector_is_found_whatever_the_hashes(
    tmp_path: Path, copy_from: float | None, verdicts: list[Verdict]
) -> None:
    """Neither words nor the score propose it: the mix is .48. The pair has one answer, from whichever verb."""
    verify = verifying(Verification(Verdict.SCENE, 9, 0.97), [])
    with opened(tmp_path, copy_from, [fingerprint(0.95, FAR), fingerprint(BORDER - 1.01, FAR)]) as library:
        search = Search(library, verify)
        query = Query(QUERY, (QUERY.signals,), NO_WORDS)
        found = search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=0.75)
        assert [(match.content, match.verdict) for match in found] == [(1, verdict) for verdict in verdicts]
        other = fingerprint(0.95, FAR)
        compared = search.compare(query, other, same_bytes=False, weights=DEFAULT_WEIGHTS, threshold=0.75)
        assert compared.verdict is (Verdict.COPY if copy_from else Verdict.SCENE)


def test_partners_are_proposed_and_confirmed_too(tmp_path: Path) -> None:
    """What is related to a stored content is what a question about its file would find."""
    verify = verifying(Verification(Verdict.SCENE, 9, 0.97), [])
    with opened(tmp_path, BORDER, [QUERY, fingerprint(0.95, FAR)]) as library, library.store.read() as reader:
        (relation,) = check_partners(library, reader, verify, 1).relations()
    assert (relation.asked, relation.known, relation.verification.verdict) == (1, 2, Verdict.COPY)


def test_partners_are_verified_in_small_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file waits for the job at hand; the relations are those of all jobs, each with its partner."""
    monkeypatch.setattr(partners, "JOB_CANDIDATES", 3)
    asked: list[int] = []
    verify = verifying(Verification(Verdict.SCENE, 9, 0.97), asked)
    known = [fingerprint(0.95, FAR) for _ in range(BY_VECTOR)]
    with opened(tmp_path, BORDER, [QUERY, *known]) as library, library.store.read() as reader:
        check = check_partners(library, reader, verify, 1)
        related = [relation.known for relation in check.relations()]
    assert asked == [3, 1]
    assert related == check.partners == [2, 3, 4, 5]


def test_few_are_proposed(tmp_path: Path) -> None:
    """Of many near vectors only the nearest few are verified."""
    asked: list[int] = []
    with opened(tmp_path, BORDER, [fingerprint(0.95, FAR) for _ in range(3 * BY_VECTOR)]) as library:
        query = Query(QUERY, (QUERY.signals,), NO_WORDS)
        Search(library, verifying(Verification(None), asked)).matches(
            query, None, weights=DEFAULT_WEIGHTS, threshold=0.75
        )
    assert sum(asked) == BY_VECTOR


def test_contents_out_of_scope_take_no_place_by_the_vector(tmp_path: Path) -> None:
    """Nor are they compared where nothing in scope is a copy, as rivals."""
    near, last = fingerprint(0.99, FAR), fingerprint(0.95, FAR)
    asked: list[int] = []
    with opened(tmp_path, BORDER, [*[near] * 80, last]) as library, library.store.read() as reader:
        scope = Scope(silences=lambda digest: digest != reader.digest(81))
        for verification, others in ((Verification(Verdict.SCENE, 9, 0.97), True), (Verification(None), False)):
            asked.clear()
            found = (
                Search(library, verifying(verification, asked))
                .within(scope)
                .matches(
                    Query(QUERY, (QUERY.signals,), NO_WORDS), None, weights=DEFAULT_WEIGHTS, threshold=0.75, admit=any_
                )
            )
            assert [match.content for match in found] == [81] * others
            assert (sum(asked) > 1) is others


def any_(*_: object) -> bool:
    return True

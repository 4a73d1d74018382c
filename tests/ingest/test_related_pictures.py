"""Which matches alert, and which are logged as related."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from ingest_bench import Bench
from structlog.testing import capture_logs

from shazimd.search.candidates import WORDS_FEW
from shazimd.search.query import CANDIDATES_MAX, FILES_TRIED, Search
from shazimd.store.base import Writer
from shazimd.types import DecisionKind, UserDecision, Verdict, Verification, digest_of
from shazimd.words.packing import FEATURE, HEADER, VERSION


@pytest.mark.parametrize("data", [b"banned", b"like the banned one"])
def test_matches_may_be_limited_to_a_bank(bench: Bench, data: bytes) -> None:
    """The same bytes and a similar picture alert for the bank's file, and never for another upload."""
    bench.decoders.number = 7  # all are similar
    (bench.root / "bank").mkdir()
    bench.banks = (os.fsencode(bench.root / "bank"),)
    bench.look("upload1.ppm", b"harmless")
    bench.look("upload2.ppm", b"harmless")
    assert bench.told() == []
    bench.is_silent = True
    bench.look("bank/1.ppm", b"banned")
    bench.is_silent = False
    bench.look("upload3.ppm", data)
    assert bench.told() == [("upload3.ppm", "1.ppm")]


def test_by_hashes_alone_nothing_is_alerted(bench: Bench) -> None:
    """Without a vector a score is noise: the match is logged as related. The same bytes still alert."""
    bench.decoders.number, bench.decoders.has_model = 7, False  # the same hashes for all bytes
    bench.look("a.ppm", b"a")
    with capture_logs() as events:
        bench.look("b.ppm", b"b")
    assert bench.told() == []
    assert related(events) == [("info", "b.ppm", "a.ppm")]
    bench.look("c.ppm", b"a")
    assert bench.told() == [("c.ppm", "a.ppm")]


def related(events: list[Any]) -> list[tuple[str, str, str]]:
    """The lines of related pictures: (level, file, match)."""
    return [
        (event["log_level"], os.path.basename(event["path"]), os.path.basename(event["match"]))
        for event in events
        if event["event"] == "related_image"
    ]


def test_a_match_of_a_verdict_without_alerts_is_one_line(bench: Bench) -> None:
    """The best at info, the rest at debug; nothing is stored."""
    bench.decoders.number = 7  # the same hashes for all bytes: similar
    bench.verdicts = frozenset([Verdict.EXACT])
    for name in ("a.ppm", "b.ppm"):
        bench.look(name, name.encode())
    with capture_logs() as events:
        bench.look("c.ppm", b"c")
    assert related(events) == [("info", "c.ppm", "a.ppm"), ("debug", "c.ppm", "b.ppm")]
    (line, _) = (event for event in events if event["event"] == "related_image")
    assert (line["verdict"], line["score"]) == ("similar", 1.0)
    assert bench.told() == []


def test_a_match_in_a_crowd_of_like_pictures_is_no_news(bench: Bench) -> None:
    """Ten others are as near: none stands out, and all are at debug."""
    bench.decoders.number = 7
    bench.verdicts = frozenset([Verdict.EXACT])
    for number in range(10):
        bench.look(f"{number}.ppm", b"%d" % number)
    bench.decoders.number = 0b101
    with capture_logs() as events:
        bench.look("z.ppm", b"z")
    assert {level for level, *_ in related(events)} == {"debug"}


def test_beside_an_alert_related_pictures_are_at_debug(bench: Bench) -> None:
    """A file raises one line at info or above."""
    bench.decoders.number = 7
    bench.decoders.pixels = b"p" * 32
    bench.verdicts = frozenset([Verdict.EXACT])
    bench.look("b.ppm", b"b")
    bench.decoders.pixels = None
    bench.look("a.ppm", b"a")
    bench.decoders.pixels = b"p" * 32
    with capture_logs() as events:
        bench.look("c.ppm", b"c")
    assert related(events) == [("debug", "c.ppm", "a.ppm")]
    assert bench.told() == [("c.ppm", "b.ppm")]


@pytest.mark.parametrize("reason", ["outside of the bank", "of another host", "silenced"])
def test_pictures_that_may_not_be_named_take_no_place_of_one_that_may(bench: Bench, reason: str) -> None:
    """More pictures than are compared share the words of the one to be named; the scores say nothing."""
    bench.decoders.features = HEADER.pack(VERSION, 0, 10, 10, WORDS_FEW) + bytes(WORDS_FEW * FEATURE.itemsize)
    bench.ingest._decider._search = Search(bench.library, all_copies)
    bench.is_silent = True
    uploads = [bench.look(f"upload{number}.ppm", b"%d" % number) for number in range(CANDIDATES_MAX + 20)]
    (bench.root / "bank").mkdir()
    bench.look("bank/1.ppm", b"banned")
    bench.is_silent = False
    if reason == "outside of the bank":
        bench.banks = (os.fsencode(bench.root / "bank"),)
    elif reason == "of another host":
        bench.store.write(lambda writer: [move_to_other_host(writer, path) for path in uploads])
    else:
        apart = (digest_of(b"next"), *(digest_of(b"%d" % number) for number in range(len(uploads))))
        bench.store.write(lambda writer: writer.decisions.add(UserDecision(DecisionKind.NOT_DUPLICATES, apart)))
    bench.look("next.ppm", b"next")
    assert bench.told() == [("next.ppm", "1.ppm")]


def move_to_other_host(writer: Writer, path: bytes) -> None:
    row = writer.file(path)
    assert row is not None
    writer.put_file(b"nas:" + path, row)
    writer.remove_file(path)


def all_copies(_query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
    done: Future[list[Verification]] = Future()
    done.set_result([Verification(Verdict.COPY) for _ in candidates])
    return done


def test_a_bank_alerts_however_many_uploads_have_the_bytes(bench: Bench) -> None:
    """Files of one content are tried in order of their directories; a hundred of them are no reason to give up."""
    for name in ("a", "bank"):
        (bench.root / name).mkdir()
    bench.is_silent = True
    for number in range(FILES_TRIED[-1] + 1):
        bench.look(f"a/{number}.ppm", b"spam")
    bench.look("bank/x.ppm", b"spam")
    bench.is_silent = False
    bench.banks = (os.fsencode(bench.root / "bank"),)
    bench.look("a/next.ppm", b"spam")
    assert bench.told() == [("next.ppm", "x.ppm")]

from __future__ import annotations

import os
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shazimd import protocol, text
from shazimd.types import Verdict, check_threshold, check_weights, rounded_score


@pytest.mark.parametrize("written", ["", "x", "-0.1", "1.01", "nan", "inf", "0,5"])
def test_a_threshold_out_of_range_is_refused(written: str) -> None:
    """The error states the expectation only; its reader adds the name and the value."""
    with pytest.raises(ValueError, match=r"^a number from 0 to 1$"):
        text.parse_threshold(written)


@pytest.mark.parametrize(
    "written",
    ["", "1,1", "1," * len(text.SIGNALS) + "1", "0,0,0", "1,1,-1", "1,1,inf", "1e308,1e308,0", "nan,1,1", "a,b,c"],
)
def test_weights_that_make_no_score_are_refused(written: str) -> None:
    """A number for each signal, none negative, not all zero; their sum is finite."""
    with pytest.raises(ValueError, match=f"^{text.WEIGHTS_EXPECTED}$"):
        text.parse_weights(written)


def test_numbers_are_checked_alike_as_text_and_as_values() -> None:
    """A value that can be written can be given to the Python API, and the other way round."""
    assert (0.0, 1.0, 0.75) == tuple(map(text.parse_threshold, ("0", "1", ".75")))
    assert text.all_weights((0.5, 0.0, 3.0)) == text.parse_weights("0.5,0,3")
    check_threshold(0.75)
    check_weights(text.all_weights((0.5, 0.0, 3.0)))
    with pytest.raises(ValueError, match="threshold is nan, expected a number from 0 to 1"):
        check_threshold(float("nan"))
    with pytest.raises(ValueError, match=r"weights are \[inf, .*, expected \d numbers"):
        check_weights(text.all_weights((float("inf"), 1.0, 1.0)))


def test_the_original_weights_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash more, its weight may be given; the original's three leave it out."""
    monkeypatch.setattr(text, "SIGNALS", ("ah", "dh", "xh", "fv"))
    assert (1.0, 1.0, 0.0, 2.0) == text.parse_weights("1,1,2")
    assert (1.0, 1.0, 3.0, 2.0) == text.parse_weights("1,1,3,2")


def test_scores_have_four_digits_everywhere() -> None:
    """An alert and an answer about the same pair show the same score."""
    assert (0.9844, 1.0, 0.0) == tuple(map(rounded_score, (0.984375, 0.99999, 0.00004)))


def test_a_path_that_is_not_utf8_is_given_twice() -> None:
    """Readable, and exactly in base64; any other path once."""
    assert {"match": "/p/a b.jpg"} == text.path_fields_as("match", b"/p/a b.jpg")
    assert {"path": "/p/\\xff", "path_b64": "L3Av/w=="} == text.path_fields(b"/p/\xff")


def test_control_characters_are_escaped() -> None:
    """No name can move the cursor or forge a line; other scripts stay readable."""
    assert ("a\\x1b[2Jb", "é 猫") == (text.printable("a\x1b[2Jb"), text.printable("é 猫"))


NAMES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text(st.sampled_from("aé\\xfu0285e\x85\u202e\u2028\u0085\udcff\udc85"), min_size=1).map(
        lambda name: name.encode("utf-8", "surrogateescape")
    ),
)


@given(NAMES, NAMES)
def test_two_names_never_look_the_same(a: bytes, b: bytes) -> None:
    """A byte and its escape, a control character and its escape: each name has a text of its own, all of it visible."""
    shown = text.readable(a), text.readable(b)
    assert (a == b) == (shown[0] == shown[1])
    assert all(name.isprintable() and text.printable(name) == name for name in shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\x9b2J", "\\x9b2J"),
        ("\x9b2J".encode(), "\\u009b2J"),
        ("a\u202egpj.exe".encode(), "a\\u202egpj.exe"),
        ("\u2028".encode(), "\\u2028"),
        ("\U000e0001".encode(), "\\U000e0001"),
        (b"\\xff", "\\\\xff"),
        (b"\xff", "\\xff"),
    ],
)
def test_what_turns_or_breaks_a_line_is_escaped(name: bytes, shown: str) -> None:
    """C1 controls, marks of direction, line separators, tags; bytes that are not UTF-8 differ from characters."""
    assert text.readable(name) == shown
    assert text.printable(os.fsdecode(name)) == shown.replace("\\\\", "\\")


def test_every_verdict_has_its_words() -> None:
    """A log line and the page say each verdict, and the messages name them all."""
    assert set(Verdict) == set(text.RELATIONS) == set(text.RELATED) == set(get_args(protocol.VerdictName))

from __future__ import annotations

from typing import Any

import pytest

from shazimd.errors import BadInput
from shazimd.text import SECONDS_MAX
from shazimd.web.browse import ListFilter
from shazimd.web.rules import apply_rule, decision
from shazimd.web.words import differences, facts, outline, relation


def member(name: str, **more: Any) -> Any:
    base = {"path": f"/srv/photos/{name}", "content": name, "width": 1200, "height": 800, "size_bytes": 1000}
    return base | {"mtime": 1.7e9, "format": "JPEG", "verdict": "copy", "also": [], "facts": None} | more


def placed(left: float, top: float, right: float, bottom: float, **more: Any) -> dict[str, Any]:
    return {"scale": right - left, "rotation_deg": 0.0, "mirrored": False, "region": (left, top, right, bottom)} | more


FIRST = member("camera/a.jpg", verdict=None)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (member("b", content="camera/a.jpg", verdict="exact"), "is 1, byte for byte"),
        (member("b", verdict="exact"), "is 1 to the pixel, in another format or with other metadata"),
        (member("b", mapping=placed(0, 0, 1, 1)), "is 1, recompressed or retouched"),
        (member("b", mapping=placed(0.5, 0, 1, 1), width=600), "is 1, cropped to 50% of it"),
        (member("b", mapping=placed(-0.1, -0.1, 1.1, 1.1), width=1440), "is 1, with more around it"),
        (member("b", mapping=placed(-0.5, 0, 0.5, 1)), "is 1, showing 50% of it and more around"),
        (member("b", mapping=placed(0, 0, 1, 1, mirrored=True)), "is 1, mirrored"),
        (member("b", mapping=placed(0, 0, 1, 1, rotation_deg=-90.2)), "is 1, turned by 90°"),
        (member("b", mapping=placed(0, 0, 1, 1, rotation_deg=3.2)), "is 1, turned by 3°"),
        (member("b", mapping=placed(0, 0, 1, 1), width=300, height=200), "is 1, at 25% of its size"),
        (member("b", mapping=placed(0, 0, 1, 1), width=2400), "is 1, enlarged to 200%"),
        (member("b", verdict="scene", mapping=placed(0, 0, 1, 1)), "shows the scene of 1 in another shot"),
        (member("b", verdict="variant"), "has the template of 1, with other content"),
        (member("b", verdict="similar"), "looks like 1"),
    ],
)
def test_a_relation_in_words(other: Any, words: str) -> None:
    """As a person would say it."""
    assert words == relation(other, FIRST)


CROP, FRAME = (0.25, 0.5, 0.75, 1.0), (-0.5, -0.25, 1.5, 1.25)


@pytest.mark.parametrize(
    ("mapping", "on_first", "on_member"),
    [
        (placed(0, 0, 1, 1), None, None),
        (placed(*CROP), CROP, None),
        (placed(*FRAME), None, (0.25, 1 / 6, 0.75, 5 / 6)),
        (placed(-1, 0, 1, 1), None, (0.5, 0, 1, 1)),
        (placed(-1, 0, 1, 1, mirrored=True), None, (0, 0, 0.5, 1)),
        (placed(-1, 0, 1, 1, rotation_deg=180.2), None, (0, 0, 0.5, 1)),
        (placed(-1, 0, 1, 1, rotation_deg=90), None, (0, 0, 1, 0.5)),
        (placed(-1, 0, 1, 1, rotation_deg=-90), None, (0, 0.5, 1, 1)),
        (placed(-1, 0, 0.5, 1), None, (2 / 3, 0, 1, 1)),
        (placed(*FRAME, rotation_deg=12), None, None),
    ],
)
def test_the_place_of_the_smaller_view_is_outlined_in_the_larger(mapping: Any, on_first: Any, on_member: Any) -> None:
    """On one of the two files; nothing is drawn outside of a picture."""
    other = member("b", mapping=mapping)
    assert on_first == outline(other, "match")
    assert on_member == (pytest.approx(outline(other, "query")) if on_member else outline(other, "query"))


def test_the_places_that_differ_are_counted() -> None:
    region = {"query": (0, 0, 1, 1), "match": (0, 0, 1, 1)}
    assert "12% of it differs, in 1 place" == differences(member("b", differs={"share": 0.12, "regions": [region]}))
    assert "" == differences(member("b"))


def test_facts_stand_side_by_side() -> None:
    """Unknown facts are left out, or shown as missing on one side."""
    camera = {"camera": "Fuji", "captured": "2024:05:01 12:00:31", "jpeg_quality": 92, "lossless": False, "grey": False}
    rows = {fact.name: fact for fact in facts([FIRST | {"facts": camera}, member("inbox/b.jpg", width=600)])}

    assert ("…/camera", "…/inbox") == rows["Folder"].values
    assert ("Fuji", None) == rows["Camera"].values
    assert ("2024-05-01 12:00", None) == rows["Taken"].values
    assert ("JPEG, quality 92", "JPEG") == rows["Format"].values
    assert (True, False) == (rows["Pixels"].differs, rows["File size"].differs)
    assert "Other names" not in rows


def group(*members: Any) -> Any:
    return {"id": "g", "saves_bytes": 1, "members": list(members)}


LARGE = member("large.jpg", width=2400, mtime=1.8e9)
OLD = member("old.jpg", mtime=1.6e9)
EXACT = member("also.jpg", content="large.jpg", width=2400, verdict="exact", mtime=1.8e9)


@pytest.mark.parametrize(
    ("rule", "folder", "members", "kept"),
    [
        ("suggested", b"", (FIRST, LARGE), 0),
        ("largest", b"", (FIRST, LARGE), 1),
        ("largest", b"", (FIRST, LARGE, EXACT), None),
        ("oldest", b"", (FIRST, LARGE, OLD), 2),
        ("newest", b"", (FIRST, LARGE, OLD), 1),
        ("oldest", b"", (FIRST, LARGE, OLD | {"facts": {"captured": "2030:01:01 00:00:00"}}), 0),
        ("below", b"/srv/photos/camera", (LARGE, FIRST), 1),
        ("below", b"/srv/photos/cam", (LARGE, FIRST), None),
        ("below", b"/srv/photos", (LARGE, FIRST), None),
    ],
)
def test_a_rule_keeps_the_only_file_that_fits(
    rule: str, folder: bytes, members: tuple[Any, ...], kept: int | None
) -> None:
    """It decides nothing where no file fits, or more than one."""
    ruled = apply_rule(rule, group(*members), folder)

    assert (kept, kept is None) == (ruled.keep, ruled.decision is None)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(BadInput, match="expected one of: suggested"):
        apply_rule("magic", group(FIRST, LARGE))


def test_files_of_the_same_bytes_can_only_be_left_alone() -> None:
    """Two contents are needed to be told apart."""
    assert {"kind": "leave", "contents": ["large.jpg"]} == decision(group(LARGE, EXACT), "not_duplicates")
    assert ["large.jpg", "old.jpg"] == decision(group(LARGE, EXACT, OLD), "not_duplicates")["contents"]
    assert ["large.jpg", "old.jpg"] == decision(group(LARGE, FIRST, OLD), "not_duplicates", of=[0, 2])["contents"]


def test_a_filter_is_its_address() -> None:
    """The query of a filter makes the filter again; days are those of the user's zone."""
    by = ListFilter.of({"under": "/srv/ä", "verdict": "copy", "since": "2026-01-01", "until": "2026-01-01"})

    assert "?under=%2Fsrv%2F%C3%A4&verdict=copy&since=2026-01-01&until=2026-01-01&offset=60" == by.query(offset=60)
    since, until = by.parameters()["modified"]
    assert 86400 == until - since
    early, late = ListFilter(since="0002-01-01", until="9999-12-31").parameters()["modified"]
    assert (0, SECONDS_MAX - 1) == (early, late)
    assert ("", "") == (ListFilter().query(), ListFilter.of({}).under)

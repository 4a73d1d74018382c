"""The plan of the page's clean-up, on real files."""

from __future__ import annotations

import os
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from fake_client import FakeClient
from page_serving import ServedPage
from patience import wait_for

from shazimd.acting.journal import journal_path, only_one
from shazimd.acting.plan import CleanPlan, CleanRequest, Planner
from shazimd.types import digest_of
from shazimd.web.cleanup import CleanStep, CleanUp


def member(path: Path, content: bytes, verdict: str | None, **more: Any) -> dict[str, Any]:
    """A file of a group, written to the disk."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    facts = {"path": str(path), "size_bytes": len(content), "width": 400, "height": 300}
    return facts | {"content": digest_of(content).hex(), "verdict": verdict, "also": []} | more


def plans_of_decided(group: dict[str, Any], reference: Path) -> list[CleanPlan]:
    """The plans once a person has decided to keep the first file of the group."""
    reference.mkdir(exist_ok=True)
    client = FakeClient([group])
    contents = list(dict.fromkeys(each["content"] for each in group["members"]))
    client.decide([{"kind": "keep", "contents": contents, "keep": contents[0]}])
    request = CleanRequest(verdicts=frozenset({"exact", "copy"}), reference=(os.fsencode(reference),), seen=True)
    return planned(client, request, decided_only=True).plans


def planned(client: FakeClient, request: CleanRequest, *, decided_only: bool) -> CleanStep:
    """The step once its plans are made."""
    cleanup = CleanUp(client)  # type: ignore[arg-type]
    cleanup.plan(request, decided_only)
    step = cleanup.step
    assert step is not None
    wait_for(lambda: step.name == "planned")
    return step


def group_of(*members: dict[str, Any]) -> dict[str, Any]:
    return {"id": "0", "saves_bytes": 1, "reason": "your decision", "decision": None, "members": list(members)}


def test_a_damaged_file_never_to_be_touched_replaces_no_whole_one(tmp_path: Path) -> None:
    """Not even where the file that a person chose is gone, and the daemon has yet to notice."""
    chosen = member(tmp_path / "chosen", b"gone", None)
    whole = member(tmp_path / "whole", b"whole", "exact")
    damaged = member(tmp_path / "archive/damaged", b"cut", "copy", damaged=True)
    (tmp_path / "chosen").unlink()
    assert plans_of_decided(group_of(chosen, whole, damaged), tmp_path / "archive") == []


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"CHOSEN")], ids=["gone", "edited"])
def test_without_the_file_that_a_person_chose_nothing_is_planned(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    """The person has seen that the others may go beside the chosen file, not beside each other."""
    chosen = member(tmp_path / "chosen", b"chosen", None)
    crop = member(tmp_path / "crop", b"part", "exact", width=100, height=100)
    larger = member(tmp_path / "larger", b"whole", "copy", width=800, height=600)
    group = group_of(chosen, crop, larger)
    (plan,) = plans_of_decided(group, tmp_path / "archive")
    assert len(plan.acts) == 2
    change(tmp_path / "chosen")
    assert plans_of_decided(group, tmp_path / "archive") == []
    planner = Planner(CleanRequest(seen=True))
    assert planner.plans(group | {"decision": 1}) == []
    why = f"{tmp_path}/chosen: left alone with its copies: you chose it, and it is gone or changed"
    assert planner.notes == [why]


def test_a_damaged_file_that_a_person_chose_replaces_a_whole_one(tmp_path: Path) -> None:
    """The decision is stronger than the damage."""
    damaged = member(tmp_path / "damaged", b"cut", None, damaged=True)
    whole = member(tmp_path / "whole", b"whole", "copy")
    (plan,) = plans_of_decided(group_of(damaged, whole), tmp_path / "archive")
    assert plan.keep.paths == (os.fsencode(tmp_path / "damaged"),)


def test_other_names_of_an_edited_copy_make_it_no_exact_one(tmp_path: Path) -> None:
    """With only exact files asked for, a copy stays under all its names."""
    original, crop = member(tmp_path / "original", b"whole", None), member(tmp_path / "crop", b"part", "copy")
    os.link(tmp_path / "crop", tmp_path / "crop2")
    crop["also"] = [{"path": str(tmp_path / "crop2")}]
    client = FakeClient([group_of(original, crop)])
    assert planned(client, CleanRequest(), decided_only=False).plans == []
    (plan,) = planned(client, CleanRequest(verdicts=frozenset({"copy"})), decided_only=False).plans
    assert [(file.paths, verdict) for file, verdict in plan.acts] == [
        ((os.fsencode(tmp_path / "crop"), os.fsencode(tmp_path / "crop2")), "copy")
    ]


def test_an_unreadable_journal_is_shown_with_the_others(page: ServedPage) -> None:
    """The page names it, with the reason and without a button."""
    with only_one():
        Path(journal_path("20000101-000000")).write_text("[]\n")
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    browser.open(page.access.link()).close()
    with browser.open(f"{page.address}/clean") as answer:
        shown = answer.read().decode()
    assert "<b>20000101-000000</b> · unreadable: " in shown
    assert "a line is damaged" in shown
    assert 'action="/clean/undo"' not in shown

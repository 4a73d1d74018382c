"""The answer to a question on the page."""

from __future__ import annotations

from typing import Any

from shazimd.text import path_fields
from shazimd.web.render import Templates


def shown(path: bytes, **more: Any) -> str:
    """The page with an answer of one match."""
    match = {**path_fields(path), "verdict": "similar", "score": 0.9, "width": 40, "height": 30}
    templates = Templates(lambda path: "link", lambda path: "1")
    return templates.text("ask.html", tab="ask", problem="", reply={"matches": [match], **more})


def test_a_match_on_another_host_is_named_with_it() -> None:
    """Its picture is not here."""
    page = shown(b"nas:/srv/a.png")
    assert 'alt="on nas"' in page
    assert "<b>a.png</b> on nas" in page
    page = shown(b"/srv/a.png")
    assert 'alt="a.png"' in page
    assert "<b>a.png</b></p>" in page


def test_an_answer_says_how_many_pictures_were_not_compared_in_detail() -> None:
    """Those of other hosts whose local features did not come in time."""
    assert "2 pictures of other hosts may be a copy, too" in shown(b"nas:/srv/a.png", unverified=2)
    assert "may be a copy" not in shown(b"nas:/srv/a.png")
